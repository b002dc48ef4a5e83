"""Control vectors in GGUF: what they mean, what is read of them, and what is refused."""

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.laws.cases import logits_of
from workbench.directions import Coordinate, Direction
from workbench.errors import DirectionError, RecipeError, WorkbenchError
from workbench.interventions import Ablate, Add, Clamp, Gate, Recipe, Schedule, steered
from workbench.models import Site, Subject
from workbench.weights import ControlVector, Orthogonalise, import_recipe
from workbench.weights.export import exports

EDIT = Orthogonalise()


def vectors(layers: tuple[int, ...] = (1, 2), width: int = 32) -> ControlVector:
    drawn = torch.randn(len(layers), width, generator=torch.Generator().manual_seed(0))
    return ControlVector(dict(zip(layers, drawn, strict=True)), "llama")


def exported(subject: Subject, recipe: Recipe, folder: Path) -> Path:
    export = exports["gguf"]()
    export.check(subject, recipe, EDIT)
    folder.mkdir()
    export.write(subject, recipe, EDIT, folder)
    return folder / "control_vector.gguf"


def test_what_is_written_is_read_again_bit_for_bit(tmp_path: Path) -> None:
    written = vectors((3, 1, 40))
    read = ControlVector.read(written.write(tmp_path / "v.gguf"))
    assert read.model_hint == "llama"
    assert list(read.layers) == [1, 3, 40]
    assert all(torch.equal(read.layers[layer], values) for layer, values in written.layers.items())


def test_the_gguf_package_reads_the_same_of_our_file_as_we_do(tmp_path: Path) -> None:
    written = vectors()
    reader = gguf.GGUFReader(written.write(tmp_path / "v.gguf"))
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    assert reader.fields["controlvector.layer_count"].contents() == 2
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert set(found) == {"direction.1", "direction.2"}
    for layer, values in written.layers.items():
        assert found[f"direction.{layer}"].tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(found[f"direction.{layer}"].data, values.numpy())


def test_a_file_is_read_whatever_else_it_says_of_itself(tmp_path: Path) -> None:
    """llama.cpp counts layers with a signed number; others add arrays, names and their own alignment."""
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_custom_alignment(64)
    writer.add_int32("controlvector.layer_count", 1)
    writer.add_array("general.tags", ["kind", "calm"])
    writer.add_array("general.numbers", [1, 2, 3])
    writer.add_array("general.weights", [0.5])
    writer.add_float64("general.strength", 0.25)
    writer.add_bool("general.signed", True)
    writer.add_tensor("direction.2", np.arange(5, dtype=np.float32))
    writer.add_tensor("direction.1", np.ones(5, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = ControlVector.read(tmp_path / "v.gguf")
    assert read.model_hint == ""
    assert read.layers[2].tolist() == [0, 1, 2, 3, 4]
    assert read.layers[1].tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("site", ["1.resid_post", "2.resid_pre", "2.mlp_out", "2.resid_post"])
def test_a_model_says_the_same_under_the_recipe_and_under_the_file(tiny: Subject, site: str, tmp_path: Path) -> None:
    recipe = Add(random_direction(tiny), 0.7).at(site) + Add(random_direction(tiny, 1), -0.4).at("1.resid_post")
    exported(tiny, recipe, tmp_path / "out")
    again = exports["gguf"]().read_back(tiny, tmp_path / "out")
    plain = logits_of(tiny)
    with steered(tiny, recipe):
        before = logits_of(tiny)
    with steered(tiny, again):
        after = logits_of(tiny)
    assert (before - plain).abs().max() > 0.05
    assert torch.allclose(after, before, atol=2e-4 * float(before.abs().max()))


def test_a_direction_is_added_to_the_output_of_the_block_of_its_number(
    tiny: Subject, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Against transformers alone, with a hook of its own on the blocks, counted from 0."""
    vector = vectors((1, 2), tiny.d_model)
    recipe = import_recipe(tiny, vector.write(tmp_path / "v.gguf"))
    batch = tiny.batch([[7, 8, 9, 10, 11, 12]])
    with steered(tiny, recipe):
        ours = tiny.logits(batch)
    model = AutoModelForCausalLM.from_pretrained(tiny_folders[tiny.name], dtype=torch.float32)
    blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    for layer, values in vector.layers.items():
        blocks[layer].register_forward_hook(lambda _, __, out, values=values: plus(out, values))
    with torch.no_grad():
        theirs = model(batch.ids).logits
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


def plus(out: Any, values: torch.Tensor) -> Any:
    return (out[0] + values, *out[1:]) if isinstance(out, tuple) else out + values


def test_additions_at_one_place_are_one_vector_and_the_places_are_those_of_llama_cpp(
    llama: Subject, tmp_path: Path
) -> None:
    one, two = random_direction(llama, 1, scale=3.0), random_direction(llama, 2, scale=0.5)
    recipe = Add(one, 2.0).at(2) + Add(two).at("1.mlp_out") + Add(two, 0.5).at("2.resid_post") + Add(one, 0.0).at(0)
    read = ControlVector.read(exported(llama, recipe, tmp_path / "out"))
    assert list(read.layers) == [1, 2]
    summed = 2.0 * 3.0 * one.unit.double() + 0.5 * two.unit.double()
    assert torch.allclose(read.layers[1], summed.float(), rtol=1e-6, atol=1e-7)
    assert torch.equal(read.layers[2], Add(two, 0.5).linear().shift)


def test_a_lone_addition_is_written_bit_for_bit(llama: Subject, tmp_path: Path) -> None:
    edit = Add(random_direction(llama), 0.3)
    read = ControlVector.read(exported(llama, edit.at(2), tmp_path / "out"))
    assert torch.equal(read.layers[1], edit.linear().shift)


@pytest.mark.parametrize("seed", range(20))
def test_the_recipe_adds_the_stored_vector_to_within_a_unit_in_the_last_place(
    llama: Subject, seed: int, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(seed)
    length = 10.0 ** float(torch.empty(1).uniform_(-3, 3, generator=generator))
    values = length * torch.randn(llama.d_model, generator=generator)
    path = ControlVector({1: values}).write(tmp_path / "v.gguf")
    (placement,) = import_recipe(llama, path).placements
    found = placement.edit(torch.zeros(1, 1, llama.d_model))[0, 0]
    unit = torch.nextafter(values.abs(), torch.tensor(torch.inf)) - values.abs()
    assert ((found - values).abs() <= unit).all()


def test_the_last_block_has_a_direction_and_one_behind_it_is_of_another_model(llama: Subject, tmp_path: Path) -> None:
    last = llama.n_layers - 1
    recipe = import_recipe(llama, vectors((last,)).write(tmp_path / "last.gguf"))
    assert [placement.sites for placement in recipe.placements] == [(f"{last}.resid_post",)]
    with pytest.raises(DirectionError, match="a layer 3 and llama has layers 0-2"):
        import_recipe(llama, vectors((1, last + 1)).write(tmp_path / "behind.gguf"))
    with pytest.raises(DirectionError, match="48 wide and llama is 32"):
        import_recipe(llama, vectors((1,), width=48).write(tmp_path / "wide.gguf"))


def test_a_layer_of_zeros_adds_nothing(llama: Subject, tmp_path: Path) -> None:
    vector = ControlVector({1: torch.zeros(llama.d_model), 2: torch.ones(llama.d_model)})
    recipe = import_recipe(llama, vector.write(tmp_path / "v.gguf"))
    assert [placement.sites for placement in recipe.placements] == [("2.resid_post",)]


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (lambda d: Ablate(d).at("all"), "can add and nothing else"),
        (lambda d: Clamp(d, value=1.0).at(2), "can add and nothing else"),
        (lambda d: Add(d).at(2, tokens="generated"), "every token, not on 'generated'"),
        (lambda d: Add(d).at(2, gate=Gate(Coordinate(d, 0.5), Site(1, "resid_pre"))), "weights have no gate"),
        (lambda d: Add(d).at(2, schedule=Schedule(((0, 0.0), (8, 1.0)))), "weights have no schedule"),
        (lambda d: Add(d).at("2.attn_out"), "where a block ends, not at 2.attn_out"),
        (lambda d: Add(d).at("embed"), "where a block ends, not at 0.embed"),
        (lambda d: Add(d).at("all"), "begins after block 1, and 0.resid_pre is before"),
        (lambda d: Add(d).at(2) + Add(d).at(1), "begins after block 1, and 1.resid_pre is before"),
        (lambda d: Add(d).at("0.mlp_out"), "begins after block 1, and 0.mlp_out is before"),
        (lambda d: Recipe(), "adds nothing"),
        (lambda d: Add(d, 0.0).at(2), "adds nothing"),
        (lambda d: Add(d).at(7), "no layer 7"),
        (lambda d: Add(d, 1e300).at(2), "finite float32"),
    ],
)
def test_what_a_control_vector_cannot_say_is_refused_by_the_part_that_prevents_it(
    llama: Subject, recipe: Callable[[Direction], Recipe], says: str
) -> None:
    with pytest.raises((RecipeError, DirectionError), match=says):
        exports["gguf"]().check(llama, recipe(random_direction(llama)), EDIT)


# --- files that nobody should trust ---


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def file_bytes(
    *, keys: bytes | None = None, count: int = 1, tensors: bytes | None = None, n: int = 1, data: int = 128
) -> bytes:
    """A control vector of one layer written by hand, any part of which can be replaced."""
    said = text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
    place = tensor("direction.1") if tensors is None else tensors
    head = b"GGUF" + struct.pack("<IQQ", 3, n, count) + (said if keys is None else said + keys) + place
    return head + bytes(-len(head) % 32) + np.ones(data // 4, dtype="<f4").tobytes()


def tensor(name: str, axes: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


def value(key: str, kind: int, packed: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + packed


HUGE = 2**63
NAN = np.array([np.nan] * 32, dtype="<f4").tobytes()
DAMAGED = {
    "empty": (b"", "ends in the middle of its first word"),
    "another format": (b"PK\x03\x04" + bytes(60), "does not begin as a GGUF file"),
    "version 1": (b"GGUF" + struct.pack("<I", 1) + bytes(60), "of version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(60), "big-endian"),
    "truncated in the head": (file_bytes()[:50], "ends in the middle"),
    "truncated in the numbers": (file_bytes()[:-1], "longer than the file"),
    "no values at all": (file_bytes(count=0), "does not say that it is a control vector|is not called"),
    "a model": (
        b"GGUF" + struct.pack("<IQQ", 3, HUGE, 20) + value("general.architecture", 8, text("qwen2")),
        "its architecture is 'qwen2', a model or an adapter",
    ),
    "countless values": (file_bytes(count=HUGE), f"it has {HUGE} values"),
    "countless tensors": (file_bytes(n=HUGE), f"it has {HUGE} tensors"),
    "a key said twice": (file_bytes(keys=value("a", 4, bytes(4)) * 2, count=3), "says 'a' twice"),
    "a giant text": (file_bytes(keys=value("a", 8, struct.pack("<Q", HUGE)), count=2), "bytes long, or the file"),
    "an array without end": (
        file_bytes(keys=value("a", 9, struct.pack("<IQ", 0, 2**60)), count=2), "ends in the middle of 'a'"
    ),
    "texts without end": (file_bytes(keys=value("a", 9, struct.pack("<IQ", 8, HUGE)), count=2), "is an array that no"),
    "arrays in arrays": (file_bytes(keys=value("a", 9, struct.pack("<IQ", 9, 1)), count=2), "is an array that no"),
    "a kind unknown": (file_bytes(keys=value("a", 99, b""), count=2), r"of a kind \(99\)"),
    "an odd alignment": (
        file_bytes(keys=value("general.alignment", 4, struct.pack("<I", 3)), count=2), "not a power of two"
    ),
    "no alignment": (
        file_bytes(keys=value("general.alignment", 4, struct.pack("<I", 0)), count=2), "not a power of two"
    ),
    "an alignment behind the end": (
        file_bytes(keys=value("general.alignment", 4, struct.pack("<I", 2**30)), count=2), "of the padding"
    ),
    "half precision": (file_bytes(tensors=tensor("direction.1", kind=1)), "is not float32"),
    "a matrix": (file_bytes(tensors=tensor("direction.1", (16, 2))), "has 2 axes"),
    "countless axes": (file_bytes(tensors=text("direction.1") + struct.pack("<I", 2**31)), "axes, and a vector"),
    "layer 0": (file_bytes(tensors=tensor("direction.0")), "begins at direction.1"),
    "a negative layer": (file_bytes(tensors=tensor("direction.-1")), "not called direction.LAYER"),
    "a layer and more": (file_bytes(tensors=tensor("direction.1.b")), "not called direction.LAYER"),
    "another tensor": (file_bytes(tensors=tensor("blk.1.attn_q.weight")), "not called direction.LAYER"),
    "the same layer twice": (
        file_bytes(tensors=tensor("direction.1") * 2, n=2, data=256), "direction.1 is in it twice"
    ),
    "a giant vector": (file_bytes(tensors=tensor("direction.1", (HUGE,))), "longer than the file"),
    "many vectors of the same numbers": (
        file_bytes(tensors=b"".join(tensor(f"direction.{k}") for k in range(1, 100)), n=99), "longer than the file"
    ),
    "numbers behind the end": (file_bytes(tensors=tensor("direction.1", offset=32)), "behind the end"),
    "numbers far behind the end": (file_bytes(tensors=tensor("direction.1", offset=HUGE)), "behind the end"),
    "layers of two widths": (
        file_bytes(tensors=tensor("direction.1") + tensor("direction.2", (16,), offset=128), n=2, data=192),
        "equally wide",
    ),
    "not a number": (file_bytes()[:-128] + NAN, "finite float32"),
    "no layer": (file_bytes(tensors=b"", n=0), "at least one layer"),
}  # fmt: skip


def test_the_file_written_by_hand_is_one_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "v.gguf").write_bytes(file_bytes())
    assert ControlVector.read(tmp_path / "v.gguf").layers[1].tolist() == [1.0] * 32


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_hostile_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    content, says = DAMAGED[case]
    (tmp_path / "v.gguf").write_bytes(content)
    with pytest.raises(DirectionError, match=says) as raised:
        ControlVector.read(tmp_path / "v.gguf")
    assert "v.gguf" in str(raised.value)


def test_a_path_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.gguf"):
        with pytest.raises(DirectionError, match="There is no file"):
            ControlVector.read(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_the_bytes_only_our_own_errors_come_out(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(file_bytes(keys=value("a", 9, struct.pack("<IQ", 8, 1) + text("x")), count=2))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 8))
        content[at : at + 8] = data.draw(st.sampled_from([b"\xff" * 8, bytes(8), struct.pack("<Q", HUGE)])) or b""
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "v.gguf").write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(WorkbenchError):
        found = ControlVector.read(tmp_path / "v.gguf")
        assert all(torch.isfinite(values).all() for values in found.layers.values())


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", fails)
    with pytest.raises(WorkbenchError, match="disk is full"):
        vectors().write(tmp_path / "v.gguf")
    assert list(tmp_path.iterdir()) == []
