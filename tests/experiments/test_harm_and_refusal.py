"""The experiment's measures, on a tiny model: what is measured under an edit is measured under that edit."""

import pytest

from experiments import harm_and_refusal as experiment
from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, logits_of, same_bits
from workbench.interventions import Add, Recipe
from workbench.models import Subject


def test_both_measures_are_under_the_edit(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "QUESTION", "{request} Harmful?")
    before = logits_of(llama)
    plain, again = (experiment.measured(llama, Recipe(), PROMPTS) for _ in "ab")
    edited = experiment.measured(llama, Add(random_direction(llama), 8.0).at("all"), PROMPTS)
    assert plain == again
    assert edited["harmful"]["value"] != plain["harmful"]["value"]
    assert {edited[key]["n"] for key in ("refused", "harmful")} == {len(PROMPTS)}
    assert same_bits(logits_of(llama), before)
    assert "at layer 1" in experiment.said({"layer": 1, "direction": "harm"} | edited)
