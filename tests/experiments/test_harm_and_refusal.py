"""The experiment's measures, on a tiny model: what is measured under an edit is measured under that edit."""

from pathlib import Path
from typing import Any

import pytest

from experiments import harm_and_refusal as experiment
from probes.harm_and_refusal import harm_and_refusal
from tests.conftest import random_direction
from tests.laws.cases import PROMPTS, logits_of, same_bits
from workbench.interventions import Add, Recipe
from workbench.models import Subject
from workbench.prompts import builtin_prompts


def test_both_measures_are_under_the_edit(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "QUESTION", "{request} Harmful?")
    before = logits_of(llama)
    plain, again = (experiment.measured(llama, None, "none", Recipe(), PROMPTS) for _ in "ab")
    edited = experiment.measured(llama, 1, "harm", Add(random_direction(llama), 8.0).at("all"), PROMPTS)
    assert plain == again
    assert edited["harmful"]["value"] != plain["harmful"]["value"]
    assert {edited[key]["n"] for key in ("refused", "harmful")} == {len(PROMPTS)}
    assert same_bits(logits_of(llama), before)
    assert (edited["layer"], edited["direction"]) == (1, "harm")
    assert experiment.said({"case": "harm at layer 1"} | edited).startswith("harm at layer 1: refused")


def test_what_was_measured_before_a_stop_is_not_measured_again(
    llama: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    harmful, harmless = (
        builtin_prompts("harmful", "train").sample(6, 0),
        builtin_prompts("harmless", "train").sample(6, 0),
    )
    found = harm_and_refusal(llama, harmful, harmless, refused=[True] * 6 + [False] * 6)
    measured, asked = experiment.measured, []

    def stops(*given: Any) -> dict[str, Any]:
        asked.append(given)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measured(*given)

    monkeypatch.setattr(experiment, "DEPTHS", (0.5,))
    monkeypatch.setattr(experiment, "QUESTION", "{request} Harmful?")
    monkeypatch.setattr(experiment, "measured", stops)
    with pytest.raises(KeyboardInterrupt):
        experiment.steered_rows(llama, found, PROMPTS, tmp_path / "rows.jsonl")
    rows = experiment.steered_rows(llama, found, PROMPTS, tmp_path / "rows.jsonl")
    assert len(asked) == 3 + 3
    assert [row["direction"] for row in rows] == [
        "none", "harm", "random, as long as harm", "refusal", "random, as long as refusal",
    ]  # fmt: skip
