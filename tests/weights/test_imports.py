"""Vectors that others made, as directions; and what a source is, by its content."""

import io
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.conftest import random_direction
from tests.laws.cases import logits_of
from tests.weights.adapters import adapter, everywhere, simple
from workbench.directions import Direction
from workbench.errors import DirectionError, RecipeError, UsageError, WorkbenchError
from workbench.interventions import Ablate, Add, steered
from workbench.models import Site, Subject
from workbench.weights import import_from, import_recipe


def vector(subject: Subject, seed: int = 0) -> Tensor:
    return 3.0 * torch.randn(subject.d_model, generator=torch.Generator().manual_seed(seed))


def layers(subject: Subject, more: int = 0) -> Tensor:
    return torch.stack([vector(subject, seed) for seed in range(subject.n_layers + more)])


def lone(subject: Subject, source: Path, site: str) -> Direction:
    (found,) = import_from(subject, source, site).directions
    assert (str(found.site), found.origin) == (site, 0.0)
    found.check_fits(subject)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_foreign_vector_is_a_direction_as_long_as_it_is(llama: Subject, dtype: torch.dtype, tmp_path: Path) -> None:
    values = vector(llama).to(dtype)
    save_file({"v": values}, tmp_path / "v.safetensors")
    found = lone(llama, tmp_path / "v.safetensors", "1.resid_pre")
    assert torch.allclose(Add(found).linear().shift, values.float(), rtol=1e-6)
    assert found.scale == pytest.approx(float(values.double().norm()), rel=1e-6)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", ">f8"])
def test_an_array_is_a_direction(llama: Subject, dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vector(llama).numpy().astype(dtype))
    found = lone(llama, tmp_path / "v.npy", "2.mlp_out")
    assert torch.allclose(Add(found).linear().shift, vector(llama), rtol=1e-2 if "2" in dtype else 1e-6)


def test_a_layer_of_many_is_chosen_by_the_site(llama: Subject, tmp_path: Path) -> None:
    rows = layers(llama)
    save_file({"all": rows}, tmp_path / "matrix.safetensors")
    save_file({f"layer.{layer}": row for layer, row in enumerate(rows.clone())}, tmp_path / "named.safetensors")
    np.save(tmp_path / "rows.npy", rows.numpy())
    for name in ("matrix.safetensors", "named.safetensors", "rows.npy"):
        found = lone(llama, tmp_path / name, "1.resid_post")
        assert torch.allclose(Add(found).linear().shift, rows[1], rtol=1e-6)
        each = import_from(llama, tmp_path / name, "resid_post").directions
        assert [str(direction.site) for direction in each] == ["0.resid_post", "1.resid_post", "2.resid_post"]


def test_one_row_more_than_layers_is_the_hidden_states(llama: Subject, tmp_path: Path) -> None:
    np.save(tmp_path / "hidden.npy", layers(llama, more=1).numpy())
    assert torch.allclose(
        Add(lone(llama, tmp_path / "hidden.npy", "2.resid_pre")).linear().shift, vector(llama, 2), rtol=1e-6
    )
    assert len(import_from(llama, tmp_path / "hidden.npy", "resid_pre").directions) == llama.n_layers
    with pytest.raises(DirectionError, match="one row more"):
        import_from(llama, tmp_path / "hidden.npy", "2.resid_post")


def test_our_own_direction_is_the_one_that_was_saved(llama: Subject, tmp_path: Path) -> None:
    saved = random_direction(llama)
    saved.save(tmp_path / "d.safetensors")
    (found,) = import_from(llama, tmp_path / "d.safetensors").directions
    assert found.digest == saved.digest
    with pytest.raises(DirectionError, match=r"at 1.resid_pre, not at 2.resid_pre"):
        import_from(llama, tmp_path / "d.safetensors", "2.resid_pre")


def test_our_own_direction_of_another_model_is_refused(
    llama: Subject, tiny_subjects: dict[str, Subject], tmp_path: Path
) -> None:
    random_direction(tiny_subjects["phi3"]).save(tmp_path / "d.safetensors")
    with pytest.raises(DirectionError, match="was found in phi3"):
        import_from(llama, tmp_path / "d.safetensors")


def safetensors_of(**tensors: Tensor) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        save_file(tensors, folder / "v.safetensors")
        return folder / "v.safetensors"

    return make


def bytes_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    return file.getvalue()


GIANT = npy(np.zeros(4, dtype="<f4")).replace(b"(4,), }   ", b"(4" + b"0" * 9 + b",),}")[:128]
VECTORS: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "no site": (safetensors_of(v=torch.ones(32)), None, "give --site"),
    "a stream for one vector": (safetensors_of(v=torch.ones(32)), "resid_pre", "say of which layer"),
    "no such site": (safetensors_of(v=torch.ones(32)), "9.resid_pre", "No site 9.resid_pre in llama"),
    "no site at all": (safetensors_of(v=torch.ones(32)), "middle", "'middle' is not a site"),
    "another width": (safetensors_of(v=torch.ones(48)), "1.resid_pre", "are 48 wide and llama is 32"),
    "too many layers": (safetensors_of(v=torch.ones(6, 32)), "1.resid_pre", "has a layer 5"),
    "no such layer": (
        safetensors_of(l0=torch.ones(32), l2=torch.ones(32)), "1.resid_pre", "no vector of layer 1; it has 0, 2"
    ),
    "tensors without a layer": (safetensors_of(a=torch.ones(32), b=torch.ones(32)), "1.resid_pre", "holds 2 tensors"),
    "two tensors of a layer": (
        safetensors_of(a1=torch.ones(32), b1=torch.ones(32)), "1.resid_pre", "holds 2 tensors"
    ),
    "a tensor of three axes": (safetensors_of(v=torch.ones(2, 2, 32)), "1.resid_pre", "of shape"),
    "no tensor": (safetensors_of(), "1.resid_pre", "holds 0 tensors"),
    "zeros": (safetensors_of(v=torch.zeros(32)), "1.resid_pre", "no direction"),
    "zeros for every layer": (safetensors_of(v=torch.zeros(4, 32)), "resid_pre", "nothing but zeros"),
    "eight bits that are no number": (
        safetensors_of(v=torch.full((32,), torch.nan).to(torch.float8_e4m3fn)), "1.resid_pre", "not of finite numbers"
    ),
    "not a number": (safetensors_of(v=torch.full((32,), torch.nan)), "1.resid_pre", "not of finite numbers"),
    "whole numbers": (safetensors_of(v=torch.ones(32, dtype=torch.int64)), "1.resid_pre", "not of finite numbers"),
    "whole numbers in an array": (bytes_of("v.npy", npy(np.ones(32, dtype=int))), "1.resid_pre", "floating-point"),
    "objects": (bytes_of("v.npy", npy(np.array([{}], dtype=object))), "1.resid_pre", "not a .npy file of numbers"),
    "an array that is cut": (bytes_of("v.npy", npy(np.ones(32))[:200]), "1.resid_pre", "is damaged"),
    "an array that promises too much": (bytes_of("v.npy", GIANT), "1.resid_pre", "is damaged"),
    "a cut safetensors": (bytes_of("v.safetensors", b"\xff" + bytes(7) + b"{}"), "1.resid_pre", "is damaged"),
    "torch.save": (bytes_of("v.pt", zipped()), "1.resid_pre", "a pickle runs code when it is read"),
    "torch.save under another name": (bytes_of("v.safetensors", zipped()), "1.resid_pre", "runs code"),
    "a pickle": (bytes_of("v.npy", pickle.dumps([1.0])), "1.resid_pre", "a pickle runs code"),
    "a checkpoint": (bytes_of("v.ckpt", b"anything"), "1.resid_pre", "a pickle runs code"),
    "text": (bytes_of("v.txt", b"1 2 3"), "1.resid_pre", "is no GGUF, safetensors or .npy file"),
    "nothing": (lambda folder: folder / "nothing", None, "There is no"),
    "a folder of anything": (lambda folder: folder, None, "holds no adapter_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_what_holds_no_vector_of_this_model_is_one_sentence(llama: Subject, case: str, tmp_path: Path) -> None:
    make, site, says = VECTORS[case]
    with pytest.raises(UsageError, match=says):
        import_from(llama, make(tmp_path), site)


def test_a_source_says_what_it_is_by_its_content_and_not_by_its_name(llama: Subject, tmp_path: Path) -> None:
    save_file({"v": vector(llama)}, tmp_path / "safetensors.npy")
    np.save(tmp_path / "array", vector(llama).numpy())
    (tmp_path / "array.npy").rename(tmp_path / "array.safetensors")
    for name in ("safetensors.npy", "array.safetensors"):
        assert torch.allclose(Add(lone(llama, tmp_path / name, "1.resid_pre")).linear().shift, vector(llama), rtol=1e-6)


def test_a_vector_is_no_recipe_and_a_recipe_takes_no_site(llama: Subject, tmp_path: Path) -> None:
    random_direction(llama).save(tmp_path / "d.safetensors")
    with pytest.raises(RecipeError, match="says not what to do with it"):
        import_recipe(llama, tmp_path / "d.safetensors")
    with pytest.raises(RecipeError, match="leave out --site"):
        import_from(llama, simple(llama, tmp_path / "a"), "1.resid_pre")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_a_file_of_vectors_only_our_own_errors_come_out(
    llama: Subject, tmp_path: Path, data: st.DataObject
) -> None:
    save_file({"v": vector(llama)}, tmp_path / "seed.safetensors")
    whole = (tmp_path / "seed.safetensors").read_bytes() if data.draw(st.booleans()) else npy(vector(llama).numpy())
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, min(140, len(content) - 1)))] = data.draw(st.integers(0, 255))
    (tmp_path / "v.bin").write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(WorkbenchError):
        found = import_from(llama, tmp_path / "v.bin", "1.resid_pre")
        assert all(torch.isfinite(direction.unit).all() for direction in found.directions)


def test_logits_under_the_imported_ablation_are_those_under_the_one_it_was_made_of(
    tiny: Subject, tmp_path: Path
) -> None:
    recipe = Ablate(random_direction(tiny), 0.7).at(list(everywhere(tiny)))
    found = import_recipe(tiny, adapter(tiny, recipe, tmp_path / "a"))
    plain = logits_of(tiny)
    with steered(tiny, recipe):
        before = logits_of(tiny)
    with steered(tiny, found):
        after = logits_of(tiny)
    assert (before - plain).abs().max() > 0.01
    assert torch.allclose(after, before, atol=1e-4 * float(before.abs().max()))


def test_a_site_of_another_kind_is_checked_as_any_site(llama: Subject, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vector(llama).numpy())
    assert lone(llama, tmp_path / "v.npy", "0.embed").site == Site(0, "embed")
