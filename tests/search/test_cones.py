"""Cones: orthonormal axes, found on train prompts, measured on others; every gradient reaches the basis."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.search.test_finding import PAIRS, SETTINGS
from workbench.errors import UsageError
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.search import descent, lessons
from workbench.search.cones import Cone, find_cone, record_cone, rederive_cone
from workbench.search.descent import drawn_weights, gram_schmidt


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "STEPS", 6)
    monkeypatch.setattr(descent, "CHECK", 2)
    monkeypatch.setattr(descent, "BATCH", 4)
    monkeypatch.setattr(lessons, "NEW_TOKENS", 3)


def test_gram_schmidt_keeps_the_first_and_makes_the_rest_orthonormal() -> None:
    basis = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    made = gram_schmidt(basis)
    torch.testing.assert_close(made @ made.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(made[0], basis[0] / basis[0].norm())
    span = torch.linalg.qr(basis.T).Q
    torch.testing.assert_close(made @ span @ span.T, made, atol=1e-5, rtol=0)


def test_what_is_drawn_lies_in_the_positive_orthant_and_is_a_unit_vector() -> None:
    drawn = torch.stack([drawn_weights(3, 0, number) for number in range(-5, 50)])
    assert float(drawn.min()) >= 0
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(55))
    assert float(drawn.std(dim=0).min()) > 0.1


def test_a_cone_is_orthonormal_measured_and_derived_again(llama: Subject, tmp_path: Path) -> None:
    folder = record_cone(llama, PAIRS, 2, settings=SETTINGS, out=tmp_path / "c")
    results = folder.results()
    recipe = Recipe.load(folder.path / "recipe.json")
    units = torch.stack([axis.unit for axis in recipe.directions])
    torch.testing.assert_close(units @ units.T, torch.eye(2), atol=1e-5, rtol=0)
    names = [score["name"] for score in results["scores"]]
    assert names[:3] == ["no edit", "axis 1", "axis 2"]
    assert names[-2:] == ["span", "random span, matched"]
    assert rederive_cone(folder) == []
    effects = folder.path / "effects.jsonl"
    effects.write_text(effects.read_text().replace("[", "[1.0, ", 1))
    assert rederive_cone(folder) == ["The journal of effects does not lead to the scores in the results."]


def test_every_axis_moves(llama: Subject) -> None:
    few = find_cone(llama, PAIRS, 3, settings=SETTINGS)
    assert isinstance(few, Cone)
    inside = few.sample(1)
    units = torch.stack([axis.unit for axis in few.axes])
    assert float((units @ inside.unit).min()) > 0
    assert float((units.T @ (units @ inside.unit) - inside.unit).norm()) < 1e-5
    other = find_cone(llama, PAIRS, 3, settings=replace(SETTINGS, seed=1))
    assert all(not torch.equal(one.unit, two.unit) for one, two in zip(few.axes, other.axes, strict=True))


@pytest.mark.parametrize("dimension", [0, 9])
def test_a_cone_of_no_axes_or_of_too_many_is_refused(llama: Subject, dimension: int) -> None:
    with pytest.raises(UsageError, match="1 to 8 axes"):
        find_cone(llama, PAIRS, dimension, settings=SETTINGS)
