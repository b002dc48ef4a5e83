"""Deleting what informed a concept: on planted texts it is the texts that taught it, whichever way its part goes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import concept_deletion as experiment
from experiments.concept_deletion import INFORMING, RANDOM, WHOLE, Settings, falls, measured, sizes, some, without
from tests.concepts.planted import a_set, planted
from workbench.concepts.taught import Taught
from workbench.models import Head, Subject

FEW: dict[str, Any] = {"group": 1, "n_tokens": 100_000, "share": 0.5, "seeds": (0,), "concepts": "built-in"}


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_planted_concept_goes_with_the_texts_that_taught_it(
    llama: Subject, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, way: float
) -> None:
    """Half of the texts show it: without most of these less is read, without a random half it still is."""
    plain, along = experiment.asked, way * torch.eye(llama.d_model)[0]

    def asked(head: Head, test: Taught, column: int) -> tuple[torch.Tensor, torch.Tensor]:
        acts, _ = plain(head, test, column)
        return acts, along.expand_as(acts)

    def noted(train: Taught, gone: Sequence[int]) -> Taught:
        shown.append(float(train.labels[list(gone), 0].mean()))
        return without(train, gone)

    shown: list[float] = []
    monkeypatch.setattr(experiment, "asked", asked)
    monkeypatch.setattr(experiment, "without", noted)
    monkeypatch.setattr(Settings, "concept_set", a_set(1))
    texts = [planted(llama, n, seed, n_concepts=1) for seed, n in enumerate((120, 40, 40))]
    row = measured(Settings(model=str(tiny_folders["llama"]), **FEW), texts, 0, 0)
    (parts,) = row["parts"].values()
    assert parts[WHOLE] * way > 0
    assert 0.3 < shown[0] < 0.7  # at random
    # They taught it, also where its part is negative; so do, from the other side of the mean, some that show it not.
    assert shown[1] > 0.85
    (informing,), (random,), (size,) = falls([row], INFORMING), falls([row], RANDOM), sizes([row])
    assert (row["texts"], row["deleted"]) == (120, 60)
    # What is left of the texts that show it, a tenth, still teaches it in part.
    assert informing > 0.3 * size
    assert informing - random > 0.6 * size
    assert random < 0.3 * size


def test_a_fall_is_towards_nothing_and_a_mean_over_seeds() -> None:
    parts = [
        {"rain": {WHOLE: 2.0, INFORMING: 0.5, RANDOM: 2.0}, "wind": {WHOLE: -1.0, INFORMING: -0.75, RANDOM: -1.5}},
        {"rain": {WHOLE: 1.0, INFORMING: 0.5, RANDOM: 1.0}, "wind": {WHOLE: -1.0, INFORMING: -0.25, RANDOM: -1.0}},
    ]
    rows = [{"parts": each} for each in parts]
    assert falls(rows, INFORMING) == [1.0, 0.5]
    assert falls(rows, RANDOM) == [0.0, -0.25]
    assert sizes(rows) == [1.5, 1.0]


def test_no_more_tokens_are_taken_than_asked_for_and_what_is_deleted_is_gone(llama: Subject) -> None:
    texts = planted(llama, 30, 0)
    few = some(texts, 100, np.random.default_rng(0))
    assert len(few) == 100 // 12
    left: Taught = without(few, [0, 3])
    assert len(left) == len(few) - 2
    assert torch.equal(left.corpus.acts[:12], few.corpus.acts[12:24])
