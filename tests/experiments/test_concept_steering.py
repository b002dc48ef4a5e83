"""Steering by concepts: the strength is chosen on one half within the rival's budget, and reported on the other."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from experiments.concept_reader import Reader
from experiments.concept_steering import ADD, AMPLIFY, CHOOSING, REPORTED, REQUESTS, Asked, strongest
from tests.concepts.planted import a_bottleneck, a_set, planted
from workbench.interventions import Recipe
from workbench.models import Subject


def found(rise: float, kl: float = 0.0, broken: float = 0.0) -> dict[str, float]:
    return {"rise": rise, "kl": kl, "broken": broken}


@pytest.mark.parametrize(
    ("tried", "budget", "chosen"),
    [
        ({2.0: found(0.3), 4.0: found(0.6), 8.0: found(0.5)}, 1.0, 4.0),
        ({2.0: found(0.3), 4.0: found(0.6, broken=0.25), 8.0: found(0.5, broken=0.125)}, 1.0, 8.0),
        ({2.0: found(0.3, kl=1.0), 4.0: found(0.6, kl=1.1)}, 1.0, 2.0),
        ({4.0: found(0.9, broken=1.0), 2.0: found(0.1, kl=2.0)}, 1.0, 2.0),
    ],
)
def test_the_largest_rise_within_the_budget_is_chosen(
    tried: dict[float, dict[str, float]], budget: float, chosen: float
) -> None:
    assert strongest(tried, budget) == chosen


@pytest.fixture
def asked(llama: Subject) -> Any:
    """What steers, without replies; texts with planted vectors."""
    bare: Any = object.__new__(Asked)
    bare.settings = SimpleNamespace(made=a_bottleneck(llama, n=3), concept_set=a_set(3), strengths=(1.0, 2.0, 4.0))
    object.__setattr__(bare.settings.made, "names", a_set(3).names)
    bare.train = planted(llama, 120, 0)
    acts = bare.train.corpus
    bare.means = torch.stack([acts.acts[acts.rows(text)].mean(dim=0) for text in range(len(acts))])
    return bare


def test_the_rival_sets_the_budget_and_what_is_reported_chose_nothing(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: more strength is more rise; adding costs 1 a unit and breaks at 4, amplifying costs 1.5."""
    halves = []

    def under(self: Asked, concept: int, recipe: Recipe, half: slice) -> dict[str, float]:
        (placement,) = recipe.placements
        strength, plain = placement.edit.strength, type(placement.edit).__name__ == "Add"
        halves.append((plain, strength, half))
        return found(strength / 10, strength * (1.0 if plain else 1.5), float(plain and strength == 4.0))

    monkeypatch.setattr(Asked, "under", under)
    row: Any = asked.both(1)
    assert (row[ADD]["strength"], row[AMPLIFY]["strength"]) == (2.0, 1.0)
    reported = [(plain, strength) for plain, strength, half in halves if half == REPORTED]
    assert reported == [(True, 2.0), (False, 1.0)]
    assert len(halves) == 2 * (3 + 1)
    assert set(range(16)[CHOOSING]).isdisjoint(range(16)[REPORTED])
    assert len(REQUESTS) == 16


def test_the_rival_is_the_planted_vector(asked: Any) -> None:
    for concept in range(3):
        unit = asked.direction(concept).unit
        assert int(unit.abs().argmax()) == concept
        assert float(unit[concept]) > 0.8


def test_a_reader_knows_what_it_was_fitted_to_and_reads_replies_of_no_words(llama: Subject) -> None:
    concepts = a_set(2, 20)
    reader, train = Reader.fitted(llama, concepts), concepts.part("train")
    likely, shown = reader(train.texts), train.labels == 1
    for column in range(2):
        assert likely[shown[:, column], column].mean() > likely[~shown[:, column], column].mean()
    assert np.isfinite(reader(["", "one"])).all()
    assert len(reader.aurocs) == 2
