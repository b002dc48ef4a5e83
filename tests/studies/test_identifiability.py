"""A card tells a planted direction from noise, predicts its own curve, and judges on prompts that nothing has seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import random_direction
from workbench.directions import Direction
from workbench.directions.extraction import extractors
from workbench.errors import DirectionError, PromptError
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts
from workbench.studies import record_card
from workbench.studies.identifiability import resampling
from workbench.studies.identifiability.recording import held_out
from workbench.studies.identifiability.resampling import expected_agreement

PLAIN = extractors["difference-in-means"]


def _sides(n: int, gap: float, seed: int = 0, d: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """A planted gap, always along the same direction, in noise that is larger along some axes than along others."""
    truth = torch.nn.functional.normalize(torch.randn(d, generator=torch.Generator().manual_seed(7)), dim=0)
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.2, 2.0, d)
    positive, negative = (torch.randn(n, d, generator=generator) * spread for _ in range(2))
    return positive + gap * truth + 5.0, negative + 5.0


@pytest.mark.parametrize("gap", [1.0, 3.0])
def test_the_expected_agreement_is_that_of_fresh_draws(gap: float) -> None:
    expected = [expected_agreement(*_sides(400, gap, seed), 16) for seed in range(8)]
    fresh = []
    for seed in range(60):
        one, other = (PLAIN(*_sides(16, gap, 100 + 2 * seed + half)) for half in (0, 1))
        fresh.append(float(torch.cosine_similarity(one, other, dim=0)))
    assert np.mean([value or 0.0 for value in expected]) == pytest.approx(np.mean(fresh), abs=0.05)


def test_there_is_no_expectation_where_the_classes_are_noise() -> None:
    positive, negative = torch.randn(2, 50, 64, generator=torch.Generator().manual_seed(3))
    found = expected_agreement(positive, negative, 16)
    assert found is None or found < 0.3


def test_resampling_tells_a_direction_from_noise() -> None:
    generator = np.random.default_rng(0)
    positive, negative = _sides(100, 4.0)
    real = resampling.bootstrapped("real", PLAIN, positive, negative, generator)
    chance = resampling.bootstrapped("chance", PLAIN, *resampling.shuffled(positive, negative, generator), generator)
    assert (real.low or 0.0) > 0.8
    assert chance.value < 0.75 * real.value  # two resamples of one shuffle still share its chance direction
    curve = list(resampling.curve(PLAIN, positive, negative, generator, "difference-in-means"))
    measured = [point.agreement.value for point in curve if point.agreement]
    assert len(measured) == 3  # 8, 16 and 32 of 100
    assert measured == sorted(measured)
    for point in curve[:3]:
        assert point.agreement is not None
        assert point.shuffled is not None
        assert point.expected == pytest.approx(point.agreement.value, abs=0.08)
        assert abs(point.shuffled.value) < 0.2


def _named(n: int, start: int = 0) -> ContrastPairs:
    return ContrastPairs(
        Prompts.of([f"Do the bad thing number {k} now!" for k in range(start, start + n)], "harmful"),
        Prompts.of([f"What is the good of the number {k}?" for k in range(start, start + n)], "harmless"),
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "RESAMPLES", 4)
    monkeypatch.setattr(resampling, "REPEATS", 3)


def _direction(subject: Subject, **changes: object) -> Direction:
    made = random_direction(subject, layer=1)
    return replace(made, position=-1, method="difference-in-means", **changes)  # type: ignore[arg-type]


def test_the_prompts_that_judge_are_new_to_every_direction(llama: Subject) -> None:
    sets = {"a": _named(64), "b": _named(64, 32)}
    seen = frozenset(prompt.digest for prompt in sets["a"].positive[:30])
    kept, validation = held_out(sets, _direction(llama, seen=seen), 0)
    judged = {prompt.digest for prompt in validation}
    assert len(judged) == 32
    assert not judged & seen
    for pairs in kept.values():
        assert not judged & {prompt.digest for prompt in pairs.positive}
    with pytest.raises(PromptError, match="new to it"):
        held_out(sets, _direction(llama, seen=frozenset(p.digest for p in sets["a"].positive)), 0)


@pytest.mark.usefixtures("quick")
def test_a_card_is_a_run_with_a_figure_and_is_handed_back(llama: Subject, tmp_path: Path) -> None:
    sets = {"a": _named(64), "b": _named(64, 32)}
    folder = record_card(llama, _direction(llama), sets, out=tmp_path / "c")
    card = folder.results()
    assert card["names"][0] == "a, own system prompt"
    assert len(card["names"]) == 6
    cosines = np.array(card["cosines"])
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-6)
    np.testing.assert_allclose(cosines, cosines.T, atol=1e-6)
    assert [score["name"] for score in card["bypass"]] == ["no edit", *card["names"], "random, matched"]
    assert {score["n"] for score in card["bypass"]} == {32}
    assert [point["agreement"] is not None for point in card["curve"]] == [True, True] + [False] * 4
    assert (folder.path / "identifiability.html").stat().st_size > 1000
    assert record_card(llama, _direction(llama), sets, out=tmp_path / "c").path == folder.path


@pytest.mark.usefixtures("quick")
def test_a_method_that_runs_the_model_is_carded_by_its_place(llama: Subject, tmp_path: Path) -> None:
    found = replace(_direction(llama), method="refusal-direction-optimisation")
    assert record_card(llama, found, {"a": _named(64)}, out=tmp_path / "c").results()["method"] == "difference-in-means"


def test_no_card_of_another_models_direction(llama: Subject, tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match="was found in"):
        record_card(llama, _direction(llama, model_digest="other"), {"a": _named(64)}, out=tmp_path / "c")
