"""What is the same has one digest, and what differs in anything that counts has another."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs import (
    cache_root,
    digest_file,
    digest_json,
    digest_tensors,
    fingerprint,
    remembered_digest,
    versions,
)

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def backwards(value: object) -> object:
    """The same value with every dict's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), values))
def test_the_order_of_keys_does_not_count_at_any_depth(value: dict[str, object]) -> None:
    assert digest_json(value) == digest_json(backwards(value))


def test_everything_else_in_json_counts() -> None:
    alike = [
        [1, 2],
        [2, 1],
        ["1", 2],
        [1, 2, None],
        [12],
        {"1": 2},
        [[1], 2],
        [1.5, 2],
        "\u00e9",
        "e\u0301",
        "\ud800",
        "",
    ]
    assert len({digest_json(value) for value in alike}) == len(alike)


def test_the_digest_is_the_published_sha256(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "nothing").write_bytes(b"")
    assert digest_file(tmp_path / "nothing") == empty
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_tensors_count_by_name_dtype_shape_and_content() -> None:
    base = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    different = [
        {"t": base},
        {"u": base},
        {"t": base.T},
        {"t": base.reshape(6)},
        {"t": base.double()},
        {"t": base.half()},
        {"t": base.view(torch.int32)},
        {"t": base + 1},
        {"t": base.flip(0)},
        {"t": base[:, :2], "u": base[:, 2:]},
        {},
    ]
    assert len({digest_tensors(tensors) for tensors in different}) == len(different)


def test_how_a_tensor_lies_in_memory_and_its_gradient_do_not_count() -> None:
    base = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    strided = base.T.contiguous().T
    assert not strided.is_contiguous()
    same = [{"t": base}, {"t": strided}, {"t": base.clone().requires_grad_()}, {"t": torch.cat([base, base])[2:]}]
    assert len({digest_tensors(tensors) for tensors in same}) == 1
    assert digest_tensors({"a": base, "b": base + 1}) == digest_tensors({"b": base + 1, "a": base})


@pytest.mark.parametrize("tensor", [torch.tensor(1.5), torch.zeros(0, 3), torch.ones(2, dtype=torch.bfloat16)])
def test_scalars_empty_and_half_precision_tensors_have_digests_too(tensor: torch.Tensor) -> None:
    assert digest_tensors({"t": tensor}) == digest_tensors({"t": tensor.clone()}) != digest_tensors({})


def test_a_file_that_did_not_change_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before = remembered_digest(file)
    assert before == digest_file(file)
    assert (cache_root() / "digests").is_dir()

    def never(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(fingerprint, "digest_file", never)
    assert remembered_digest(file) == before


@pytest.mark.parametrize("content", [b"two", b"longer than before"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    remembered_digest(file)
    file.write_bytes(content)
    os.utime(file, ns=(10**18, 10**18 + (len(content) == 3)))
    assert remembered_digest(file) == digest_file(file)


def test_versions_name_what_decides_numbers() -> None:
    found = versions()
    assert {"python", "platform", "torch", "transformers", "numpy"} <= set(found)
    assert found["torch"] == torch.__version__
