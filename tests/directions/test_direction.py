"""A direction is a unit vector of one model; what is saved is what is loaded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import random_direction
from workbench.activations import capture
from workbench.directions import Direction, extract_directions, matched_random, random_unit
from workbench.errors import DirectionError
from workbench.models import Site, Subject
from workbench.prompts import Prompts


def test_the_scale_is_the_class_gap_and_the_origin_the_negative_mean(llama: Subject) -> None:
    positive = capture(llama, Prompts.of(["Bad one", "Worse two", "Evil three"]))
    negative = capture(llama, Prompts.of(["Good one", "Better two", "Kind three"]))
    site = Site(1, "resid_pre")
    found = extract_directions(llama, positive, negative)[-1, site]
    ours, theirs = positive.at(site, -1).double().mean(0), negative.at(site, -1).double().mean(0)
    unit = found.unit.double()
    assert float(theirs @ unit) == pytest.approx(found.origin, abs=1e-5)
    assert float((ours - theirs) @ unit) == pytest.approx(found.scale, abs=1e-5)
    torch.testing.assert_close(found.scale * unit, ours - theirs, atol=1e-5, rtol=1e-5)


def test_template_tokens_before_any_text_have_no_direction(llama: Subject) -> None:
    sides = [capture(llama, Prompts.of(texts)) for texts in (["Bad one"], ["Good one"])]
    places = extract_directions(llama, *sides)
    assert (-1, Site(0, "resid_pre")) not in places
    assert (-1, Site(1, "resid_pre")) in places


def test_two_equal_classes_are_an_error(llama: Subject) -> None:
    side = capture(llama, Prompts.of(["Same"]))
    with pytest.raises(DirectionError, match="the same at every place"):
        extract_directions(llama, side, side)


def test_a_saved_direction_is_the_same_direction(llama: Subject, tmp_path: Path) -> None:
    direction = replace(random_direction(llama), quality={"refusal_score": -1.5}, seen=frozenset("ab"))
    loaded = Direction.load(direction.save(tmp_path / "d.safetensors"))
    assert torch.equal(loaded.unit, direction.unit)
    assert loaded.digest == direction.digest
    assert (loaded.site, loaded.position, loaded.quality) == (direction.site, -1, {"refusal_score": -1.5})
    assert loaded.seen == {"a", "b"}
    direction.save(tmp_path / "run" / "direction.safetensors")
    assert Direction.load(str(tmp_path / "run")).digest == direction.digest


def test_a_direction_of_another_model_or_width_is_refused(tiny_subjects: dict[str, Subject]) -> None:
    llama, qwen = tiny_subjects["llama"], tiny_subjects["qwen2"]
    with pytest.raises(DirectionError, match=r"was found in llama .* not in qwen2"):
        random_direction(llama).check_fits(qwen)
    wide = replace(random_direction(llama), unit=torch.nn.functional.normalize(torch.ones(7), dim=0))
    with pytest.raises(DirectionError, match=r"7 wide .* llama is 32 wide"):
        wide.check_fits(llama)


def test_a_vector_that_is_no_direction_is_refused(llama: Subject) -> None:
    good = random_direction(llama)
    for changes in (
        {"unit": good.unit * 2},
        {"unit": good.unit * float("nan")},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"origin": float("nan")},
    ):
        with pytest.raises(DirectionError):
            replace(good, **changes)


def test_a_direction_knows_the_prompts_it_was_found_with(llama: Subject) -> None:
    sides = Prompts.of(["Bad one", "Worse two"]), Prompts.of(["Good one", "Better two"])
    found = extract_directions(llama, *(capture(llama, side) for side in sides))
    assert found[-1, Site(1, "resid_pre")].seen == {prompt.digest for side in sides for prompt in side}


@pytest.mark.parametrize(
    "damage",
    [
        {"extra": 1},
        {"scale": "1.0"},
        {"scale": None},
        {"site": "nowhere"},
        {"site": 7},
        {"position": 0.5},
        {"quality": {"x": "y"}},
        {"kind": "something else"},
        {"origin": float("inf")},
    ],
)
def test_odd_metadata_is_one_sentence(tmp_path: Path, llama: Subject, damage: dict[str, object]) -> None:
    path = random_direction(llama).save(tmp_path / "d.safetensors")
    with safe_open(path, framework="pt") as file:
        about, unit = json.loads(file.metadata()["direction"]), file.get_tensor("unit")
    save_file({"unit": unit}, path, metadata={"direction": json.dumps(about | damage)})
    with pytest.raises(DirectionError, match=r"d.safetensors is (damaged \(|not a direction file, or is damaged)"):
        Direction.load(path)
    save_file({"unit": unit}, path, metadata={"direction": "[" * 9})
    with pytest.raises(DirectionError, match="is damaged"):
        Direction.load(path)


def test_a_file_that_is_no_direction_is_one_sentence(tmp_path: Path, llama: Subject) -> None:
    (tmp_path / "text.safetensors").write_text("hello")
    save_file({"unit": torch.ones(3)}, tmp_path / "other.safetensors")
    cut = random_direction(llama).save(tmp_path / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-8])
    for name in ("text.safetensors", "other.safetensors", "cut.safetensors"):
        with pytest.raises(DirectionError, match="not a direction file"):
            Direction.load(tmp_path / name)
    with pytest.raises(DirectionError, match="There is no direction at"):
        Direction.load(tmp_path / "none")


def test_a_matched_random_direction_carries_the_same_mean_square() -> None:
    generator = torch.Generator().manual_seed(0)
    acts = torch.randn(500, 32, generator=generator, dtype=torch.float64) * torch.logspace(1, -2, 32)
    second = acts.T @ acts / 500
    unit = torch.nn.functional.normalize(torch.randn(32, generator=generator, dtype=torch.float64), dim=0).float()
    for seed in range(5):
        found, ratio = matched_random(unit, second, seed)
        assert ratio == pytest.approx(1.0, abs=1e-3)
        assert float((acts @ found.double()).square().mean()) == pytest.approx(
            float((acts @ unit.double()).square().mean()), rel=1e-3
        )
        assert abs(float(found @ unit)) < 1e-5
        assert float(found.norm()) == pytest.approx(1.0, abs=1e-5)


def test_random_units_differ_by_seed_and_are_orthogonal(llama: Subject) -> None:
    unit = random_direction(llama).unit
    one, again, other = (random_unit(unit, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert abs(float(one @ unit)) < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_the_controls_of_several_large_directions_hold_nothing_of_these(seed: int) -> None:
    torch.manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64)).Q
    second = basis @ torch.diag(torch.arange(1, 49, dtype=torch.float64) ** -2.0) @ basis.T
    axes = [basis[:, 0].float(), basis[:, 1].float()]
    alone, _ = matched_random(axes[1], second, seed)
    assert abs(float(alone @ axes[0])) > 0.2  # which is why
    one, _ = matched_random(axes[0], second, seed, axes[1:])
    two, ratio = matched_random(axes[1], second, seed + 1, [axes[0], one])
    drawn = random_unit(axes[0], seed, [axes[1], one, two])
    gram = torch.stack([*axes, one, two, drawn])
    torch.testing.assert_close(gram @ gram.T, torch.eye(5), atol=1e-5, rtol=0)
    assert 0 < ratio <= 1.01
