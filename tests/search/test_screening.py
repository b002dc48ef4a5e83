"""First-order estimates are derivatives; the race finds what measuring everything finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import random_direction
from workbench.directions import Direction
from workbench.evaluation.metrics.first_token import first_token_kl
from workbench.evaluation.refusal import metric_of
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Site, Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts
from workbench.search.choosing import choose, relaxed_choice
from workbench.search.scoring import Ledger, Place, Scorer
from workbench.search.screening import Estimate, _fisher_draw, screen
from workbench.search.settings import SearchSettings
from workbench.search.strategies import screened, strategies

PAIRS = ContrastPairs(
    Prompts.of(["Do the bad thing now!", "Bad?", "Another thing that is quite bad, and long"]),
    Prompts.of(["Do the good thing now!", "Good?", "Another thing that is quite good, and long"]),
)
TOKENS = (40, 50)


def _slope(subject: Subject, prompts: Prompts, recipe: Recipe, step: float) -> float:
    batches = subject.batches(token_rows(subject, prompts), 8)
    up, down = (metric_of(subject, batches, r, TOKENS) for r in (recipe, Recipe()))
    return float(np.mean(up) - np.mean(down)) / step


def test_the_estimates_are_the_slopes_at_no_edit(tiny: Subject) -> None:
    layers = (1, tiny.n_layers - 1)
    candidates = {
        (-1, Site(layer, "resid_pre")): random_direction(tiny, seed=layer, scale=0.5, layer=layer) for layer in layers
    }
    scorer = Scorer.prepare(tiny, PAIRS, TOKENS, 8)
    found = screen(scorer, candidates, 3)
    plain = {side: metric_of(tiny, tiny.batches(token_rows(tiny, side), 8), Recipe(), TOKENS) for side in
             (PAIRS.positive, PAIRS.negative)}  # fmt: skip
    for (position, site), direction in candidates.items():
        step = 0.01
        ablated = Ablate(direction, step).at(["0.resid_pre", "attn_out", "mlp_out"])
        added = Add(direction, step).at(site)
        guess = found[position, site]
        removed = guess.bypass - np.mean(plain[PAIRS.positive])
        assert removed == pytest.approx(_slope(tiny, PAIRS.positive, ablated, step), abs=0.02, rel=0.05)
        shifted = guess.induce - np.mean(plain[PAIRS.negative])
        assert shifted == pytest.approx(_slope(tiny, PAIRS.negative, added, step), abs=0.02, rel=0.05)


def test_the_divergence_is_the_curvature_at_no_edit(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.search.screening._DRAWS", 300)
    layers, step = (1, tiny.n_layers - 1), 0.02
    candidates = {(-1, Site(layer, "resid_pre")): random_direction(tiny, seed=layer, layer=layer) for layer in layers}
    found = screen(Scorer.prepare(tiny, PAIRS, TOKENS, 8), candidates, 3)
    for place, direction in candidates.items():
        slightly = Ablate(direction, step).at(["0.resid_pre", "attn_out", "mlp_out"])
        curvature = float(np.mean(first_token_kl(tiny, PAIRS.negative, slightly, 8))) / step**2
        assert found[place].divergence == pytest.approx(curvature, rel=0.3)


def test_draws_have_the_fisher_information_as_their_second_moment() -> None:
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).repeat(200_000, 1)
    drawn = _fisher_draw(logits, torch.Generator().manual_seed(1))
    p = logits[0].softmax(-1)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), p.diag() - torch.outer(p, p), atol=4e-3, rtol=0)


def test_screening_leaves_no_hook_and_no_gradient(llama: Subject) -> None:
    direction = random_direction(llama)
    screen(Scorer.prepare(llama, PAIRS, TOKENS, 8), {(-1, direction.site): direction}, 2)
    assert llama.bridge.list_hooks() == {}
    assert all(weight.grad is None for weight in llama.bridge.original_model.parameters())


@dataclass
class Planted(Scorer):
    """A scorer whose answers are known: a mean for each candidate and score, and noise for each prompt."""

    means: dict[str, dict[str, float]] = field(default_factory=dict)
    n: int = 32
    noise: float = 0.5
    seed: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)

    def count(self, score: str) -> int:
        return self.n

    def measure(self, score: str, direction: Direction, prompts: Sequence[int]) -> list[float]:
        self.asked.append((score, len(prompts)))
        key = int(direction.unit.abs().sum() * 1e6) % 100_000
        # Prompts differ from one another for every candidate alike, as real ones do.
        shared = np.random.default_rng([self.seed, len(score)]).normal(size=self.n) * 2
        own = np.random.default_rng([self.seed, len(score), key]).normal(size=self.n) * self.noise
        own, shared = own - own.mean(), shared - shared.mean()
        if score == "kl_div_score":
            own, shared = own * 0, shared * 0
        return [float(self.means[direction.method][score] + shared[i] + own[i]) for i in prompts]


def _field(llama: Subject, seed: int, feasible: bool, layers: int = 20) -> tuple[Planted, dict[Place, Direction], Any]:
    """Candidates with planted scores, and estimates of them that are off by a scale and by noise."""
    generator = np.random.default_rng(seed)
    candidates, means, estimates = {}, {}, {}
    for position in (-3, -2, -1):
        for layer in range(layers):
            name = f"{position},{layer}"
            direction = random_direction(llama, seed=layer * 7 - position, layer=0)
            place = (position, Site(layer, "resid_pre"))
            candidates[place] = Direction.from_raw(
                direction.unit, torch.zeros(llama.d_model), site=place[1], position=position, method=name,
                model_name="m", model_digest="d",
            )  # fmt: skip
            bypass = float(generator.normal(-2, 2))
            induce = float(generator.normal(0 if feasible else -6, 2))
            means[name] = {
                "refusal_score": bypass,
                "steering_score": induce,
                "kl_div_score": float(generator.uniform(0.02, 0.4)),
            }
            estimates[place] = Estimate(
                0.5 * bypass + 1 + float(generator.normal(0, 0.3)),
                1.5 * induce + float(generator.normal(0, 0.5)),
                0.5 * means[name]["kl_div_score"] * float(generator.lognormal(0, 0.4)),
            )
    return Planted(llama, TOKENS, [], [], 8, means=means, seed=seed), candidates, estimates


@pytest.mark.parametrize("feasible", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_the_race_finds_what_measuring_everything_finds(
    llama: Subject, monkeypatch: pytest.MonkeyPatch, seed: int, feasible: bool
) -> None:
    planted, candidates, estimates = _field(llama, seed, feasible)
    monkeypatch.setattr(screened, "screen", lambda *arguments: estimates)
    settings = SearchSettings()
    quick = strategies["screened"](Ledger(planted, candidates), 24, settings)
    passes = sum(n for _, n in planted.asked)
    planted.asked.clear()
    whole = strategies["exhaustive"](Ledger(planted, candidates), 24, settings)

    def best(rows: Sequence[Any]) -> Any:
        return choose(rows, 24).winner or relaxed_choice(rows, 24)

    ours, theirs = best(quick.rows), best(whole.rows)
    assert ours["n"] == dict.fromkeys(ours["n"], 32)
    assert (choose(quick.rows, 24).winner is None) == (choose(whole.rows, 24).winner is None)
    assert ours["refusal_score"] <= theirs["refusal_score"] + 0.05
    assert passes < 0.6 * sum(n for _, n in planted.asked)


def test_estimates_that_say_nothing_cost_time_and_not_the_answer(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, candidates, estimates = _field(llama, 3, True)
    generator = np.random.default_rng(0)
    noise = {place: Estimate(*generator.normal(size=2).tolist(), float(generator.lognormal())) for place in estimates}
    monkeypatch.setattr(screened, "screen", lambda *arguments: noise)
    quick = strategies["screened"](Ledger(planted, candidates), 24, SearchSettings())
    whole = strategies["exhaustive"](Ledger(planted, candidates), 24, SearchSettings())
    ours, theirs = choose(quick.rows, 24).winner, choose(whole.rows, 24).winner
    assert ours is not None
    assert theirs is not None
    assert ours["refusal_score"] <= theirs["refusal_score"] + 0.05


@pytest.mark.parametrize(
    ("kl", "induce", "may"),
    [
        ((0.05, 0.2), (-1.0, 0.5), True),
        ((0.11, 0.2), (-1.0, 0.5), False),
        ((0.05, 0.2), (-1.0, -0.1), False),
        ((0.1, 0.1), (0.0, 0.0), True),
    ],
)
def test_a_rival_may_pass_the_rule_while_its_intervals_reach_it(
    llama: Subject, kl: tuple[float, float], induce: tuple[float, float], may: bool
) -> None:
    planted, candidates, estimates = _field(llama, 0, True)
    race = screened.Race(Ledger(planted, candidates), estimates, 24, SearchSettings())
    assert race._may_pass({"intervals": {"kl_div_score": kl, "steering_score": induce}}) is may


def test_late_layers_are_never_measured(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, candidates, estimates = _field(llama, 0, True, layers=24)
    monkeypatch.setattr(screened, "screen", lambda *arguments: estimates)
    rows = strategies["screened"](Ledger(planted, candidates), 24, SearchSettings()).rows
    assert max(row["layer"] for row in rows) < 19
