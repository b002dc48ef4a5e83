"""What is no edit along a direction is not called one: finetunes, adapters, rounding; and what was added."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.weights.checkpoints import (
    FILE,
    Tensors,
    ablated,
    adapter,
    copied,
    cosine,
    edited,
    in_bfloat16,
    noise,
    unit_of,
)
from workbench.models.sources import resolve
from workbench.weights.audit import audit_weights, reading
from workbench.weights.audit.lowrank import explained_rank
from workbench.weights.audit.pairing import open_both
from workbench.weights.audit.spectra import Difference, Pool, difference
from workbench.weights.audit.verdict import FINETUNED, LOW_RANK, ONE, UNCHANGED


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.3])
def test_noise_of_full_rank_is_a_finetune(
    tiny_folders: dict[str, Path], tmp_path: Path, scale: float, seed: int
) -> None:
    base = tiny_folders["llama"]
    audit = audit_weights(copied(base, tmp_path / "s", noise(scale, seed)), str(base))
    assert audit.verdict == FINETUNED
    assert (audit.doses, len(audit.directions), audit.ranks) == ({}, 0, ())


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.3])
def test_a_merged_adapter_is_of_its_rank_and_no_edit(
    tiny_folders: dict[str, Path], tmp_path: Path, rank: int, scale: float
) -> None:
    base = tiny_folders["llama"]
    audit = audit_weights(copied(base, tmp_path / "s", adapter(rank, scale)), str(base))
    assert audit.verdict == LOW_RANK
    assert set(audit.ranks) == {rank}
    assert audit.fit < 0.6
    assert audit.fit_alone < 0.8


def test_an_adapter_of_some_matrices_beside_training_of_others_is_a_finetune(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_folders["llama"]

    def both(tensors: Tensors) -> None:
        trained = dict(tensors)
        noise(0.02)(trained)
        adapter(2, 0.1)(tensors)
        tensors.update({name: trained[name] for name in trained if "mlp" in name})

    assert audit_weights(copied(base, tmp_path / "s", both), str(base)).verdict == FINETUNED


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [0.003, 0.001])
def test_the_rank_of_an_adapter_that_was_mostly_rounded_away_is_still_found(
    tmp_path: Path, scale: float, stored: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    before = (0.02 * torch.randn(384, 512, generator=generator)).bfloat16()
    change = torch.randn(384, 4, generator=generator) @ torch.randn(4, 512, generator=generator)
    after = (before.float() + scale * before.float().norm() / change.norm() * change).bfloat16()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    save_file({"x.w": before.to(stored)}, tmp_path / "a" / FILE)
    save_file({"x.w": after.to(stored)}, tmp_path / "b" / FILE)
    pair = reading.Pair("x.w", *(reading.Stored.of(tmp_path / side, side, "x.w") for side in "ab"))
    seen = difference(pair, Pool())
    assert explained_rank(pair) == 4
    assert seen.rank is not None
    assert seen.rank > 4  # the spectrum alone does not show it


def test_rounding_to_bfloat16_is_no_change(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]
    rounded = in_bfloat16(base, tmp_path / "s")
    for suspect, against in ((rounded, base), (base, rounded)):
        audit = audit_weights(str(suspect), str(against))
        assert audit.verdict == UNCHANGED
        assert {one.status for one in audit.tensors} <= {"rounded", "equal"}
        assert any("rounding" in note for note in audit.notes)


def test_rounding_to_float16_is_no_change_of_small_numbers_either(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = copied(tiny_folders["llama"], tmp_path / "b", lambda t: t.update({k: 1e-4 * v for k, v in t.items()}))
    half = copied(Path(base), tmp_path / "s", lambda t: t.update({k: v.half() for k, v in t.items()}))
    assert audit_weights(half, base).verdict == UNCHANGED


def test_a_step_across_a_power_of_two_is_a_change(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    name = "model.layers.0.mlp.down_proj.weight"

    def filled(value: float) -> Callable[[Tensors], None]:
        return lambda tensors: tensors.update({name: torch.full((32, 48), value, dtype=torch.bfloat16)})

    below, above = (copied(tiny_folders["llama"], tmp_path / str(value), filled(value)) for value in (1.9921875, 2.0))
    statuses = {one.name: one.status for one in audit_weights(above, below).tensors}
    assert statuses[name] == "changed"


def test_what_was_once_rounded_and_stored_wider_is_no_change_either(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_folders["llama"]
    wide = copied(base, tmp_path / "s", lambda t: t.update({k: v.bfloat16().float() for k, v in t.items()}))
    assert audit_weights(wide, str(base)).verdict == UNCHANGED


def test_the_same_model_is_unchanged(tiny_folders: dict[str, Path]) -> None:
    base = str(tiny_folders["gpt2"])
    audit = audit_weights(base, base)
    assert audit.verdict == UNCHANGED
    assert {one.status for one in audit.tensors} == {"equal"}
    assert audit.plot().data == ()


def test_a_model_that_shrank_as_a_whole_is_not_edited_and_hides_no_edit(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()

    def shrink(tensors: Tensors) -> None:
        tensors.update({name: 0.9 * tensor for name, tensor in tensors.items() if tensor.ndim == 2})

    assert audit_weights(copied(base, tmp_path / "s", shrink), str(base)).verdict == FINETUNED
    both = copied(Path(edited(base, tmp_path / "e", lambda _: ablated(unit, 0.5))), tmp_path / "b", shrink)
    audit = audit_weights(both, str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.99
    assert audit.doses["all"].value == pytest.approx(0.5, abs=0.01)
    assert audit.left is not None
    assert audit.left.value == pytest.approx(0.9 * 0.5, abs=0.01)


def test_an_edit_of_a_finetune_is_found_and_said_to_be_one_of_a_finetune(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    tuned = copied(base, tmp_path / "t", noise(0.02))
    audit = audit_weights(edited(Path(tuned), tmp_path / "s", lambda _: ablated(unit, 0.5)), str(base))
    assert audit.verdict == ONE
    assert cosine(audit, unit) > 0.99
    assert audit.doses["all"].value == pytest.approx(0.5, abs=0.05)
    assert any("trained too" in note for note in audit.notes)


def difference_of(tiny_folders: dict[str, Path], suspect: str, name: str) -> tuple[Difference, Tensor]:
    """The difference of one tensor, and the change itself with the stream first."""
    base = str(tiny_folders["llama"])
    part = next(part for part in open_both(suspect, base).parts if part.name == name)
    assert part.pair is not None
    change = load_file(Path(suspect) / FILE)[name] - load_file(Path(base) / FILE)[name]
    return difference(part.pair, Pool()), change.movedim(part.pair.axis, 0).double()


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"])
def test_the_spectrum_equals_that_of_a_plain_svd(tiny_folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    suspect = copied(tiny_folders["llama"], tmp_path / "s", noise(0.1))
    found, change = difference_of(tiny_folders, suspect, name)
    left, sizes, _ = torch.linalg.svd(change, full_matrices=False)
    assert found.energies is not None
    assert found.vectors is not None
    torch.testing.assert_close(found.energies.sqrt(), sizes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close((found.vectors[:, 0].double() @ left[:, 0]).abs().item(), 1.0, atol=1e-4, rtol=0)
    explained = sizes.square().cumsum(0) / sizes.square().sum()
    assert found.rank == int((explained < 0.99).sum()) + 1
    assert found.energy == pytest.approx(float(change.square().sum()), rel=1e-5)


def test_a_vector_added_by_biases_is_an_edit_without_a_dose(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["gpt2"], unit_of()

    def add(tensors: Tensors) -> None:
        for layer, size in ((0, 2.0), (1, -3.0)):
            tensors[f"transformer.h.{layer}.mlp.c_proj.bias"] += size * unit

    audit = audit_weights(copied(base, tmp_path / "s", add), str(base))
    assert (audit.verdict, audit.doses) == (ONE, {})
    assert cosine(audit, unit) > 0.9999
    sizes = {writer: size * float(audit.directions[0] @ unit) for writer, size in audit.added.items()}
    assert sizes == pytest.approx({"0.mlp_out": 2.0, "1.mlp_out": -3.0}, abs=1e-3)


def test_two_vectors_added_by_biases_are_no_edit(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["gpt2"]

    def add(tensors: Tensors) -> None:
        for layer in (0, 1):
            tensors[f"transformer.h.{layer}.mlp.c_proj.bias"] += unit_of(seed=layer)

    assert audit_weights(copied(base, tmp_path / "s", add), str(base)).verdict == FINETUNED


def test_a_vector_added_to_every_embedding_is_an_edit_without_a_dose(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()

    def add(tensors: Tensors) -> None:
        tensors["model.embed_tokens.weight"] += 0.5 * unit

    audit = audit_weights(copied(base, tmp_path / "s", add), str(base))
    assert (audit.verdict, audit.doses) == (ONE, {})
    assert cosine(audit, unit) > 0.9999
    assert abs(audit.added["embed"]) == pytest.approx(0.5, abs=1e-3)


def test_an_ablation_of_embeddings_with_a_mean_adds_nothing(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    unit, name = unit_of(), "model.embed_tokens.weight"
    base = copied(tiny_folders["llama"], tmp_path / "b", lambda tensors: tensors[name].add_(2.0 * unit))
    audit = audit_weights(edited(Path(base), tmp_path / "s", lambda _: ablated(unit, 0.5)), base)
    assert (audit.verdict, audit.added) == (ONE, {})
    assert audit.doses["embed"].value == pytest.approx(0.5, abs=0.001)
    assert audit.explained["edit"] > 0.999


def test_embeddings_that_move_by_themselves_are_no_edit(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, name = tiny_folders["llama"], "model.embed_tokens.weight"

    def tune(tensors: Tensors) -> None:
        generator = torch.Generator().manual_seed(0)
        tensors[name] += 0.05 * torch.randn(tensors[name].shape, generator=generator)

    assert audit_weights(copied(base, tmp_path / "s", tune), str(base)).verdict == FINETUNED


def test_one_number_is_seen_and_is_no_edit(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, name = tiny_folders["llama"], "model.layers.1.mlp.down_proj.weight"

    def poke(tensors: Tensors) -> None:
        tensors[name][3, 4] += 1.0

    audit = audit_weights(copied(base, tmp_path / "s", poke), str(base))
    (changed,) = [one for one in audit.tensors if one.status == "changed"]
    assert changed.name == name
    assert changed.share == pytest.approx(1 / (32 * 48))
    assert not audit.edited


def test_biases_that_all_move_elsewhere_are_no_edit(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["gpt2"]

    def tune(tensors: Tensors) -> None:
        for index, name in enumerate(sorted(tensors)):
            if name.endswith("bias"):
                generator = torch.Generator().manual_seed(index)
                tensors[name] += torch.randn(tensors[name].shape, generator=generator)

    assert audit_weights(copied(base, tmp_path / "s", tune), str(base)).verdict == FINETUNED


def test_an_edit_and_what_it_adds_are_told_apart(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    suspect = edited(base, tmp_path / "e", lambda _: ablated(unit, 1.0))

    def add(tensors: Tensors) -> None:
        tensors["model.embed_tokens.weight"] += 1.5 * unit

    audit = audit_weights(copied(Path(suspect), tmp_path / "s", add), str(base))
    assert audit.verdict == ONE
    assert audit.doses["all"].value == pytest.approx(1.0, abs=0.01)
    assert audit.doses["embed"].value == pytest.approx(1.0, abs=0.01)
    assert audit.added["embed"] * float(audit.directions[0] @ unit) == pytest.approx(1.5, abs=0.01)


@pytest.mark.real
def test_an_adapter_merged_into_the_embedded_model_is_no_edit(tmp_path: Path) -> None:
    name = "qwen2.5-coder-0.5b-instruct"
    audit = audit_weights(copied(resolve(name, "bfloat16").folder, tmp_path / "s", adapter(8, 0.005)), name)
    assert audit.verdict == LOW_RANK
    assert max(audit.ranks) == 8
    assert audit.fit_alone < 0.3
