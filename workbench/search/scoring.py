"""Score candidate directions by running the model, as Arditi et al. 2024 do, on as many prompts as are asked for.

bypass   mean refusal metric on harmful prompts, the direction ablated everywhere
induce   mean refusal metric on harmless prompts, the raw direction added at its layer's input
KL       mean KL(base || ablated) of the next-token distribution on harmless prompts

What was measured of a prompt is kept, and written down where there is a run folder, so that it is never measured
twice: not by a later round of the same search, and not by a search that goes on after a kill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from workbench.directions import Direction
from workbench.evaluation.refusal import refusal_metric
from workbench.generation import kl_divergence
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Site, Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder
from workbench.search.choosing import SCORES, Row
from workbench.statistics import Score, mean_score

JOURNAL = "measurements.jsonl"

Place = tuple[int | None, Site]
Candidates = Mapping[Place, Direction]


class Measurement(BaseModel):
    """One score of one candidate on some validation prompts, by their numbers."""

    model_config = ConfigDict(extra="forbid")

    position: int | None
    layer: int
    score: str
    prompts: list[int]
    values: list[float]


@dataclass
class Scorer:
    """Runs the model on validation prompts, under one direction at a time."""

    subject: Subject
    tokens: tuple[int, ...]
    harmful: Sequence[Sequence[int]]  # token ids of each prompt
    harmless: Sequence[Sequence[int]]
    batch_size: int
    _base: dict[int, Tensor] = field(
        default_factory=dict
    )  # next-token logits of the unedited model, by harmless prompt

    @classmethod
    def prepare(
        cls, subject: Subject, pairs: ContrastPairs, tokens: tuple[int, ...], batch_size: int, seed: int = 0
    ) -> "Scorer":
        """Tokenise both sides, each in a drawn order: the first n prompts are then a random sample."""
        harmful, harmless = (token_rows(subject, _shuffled(side, seed)) for side in (pairs.positive, pairs.negative))
        return cls(subject, tokens, harmful, harmless, batch_size)

    def count(self, score: str) -> int:
        """How many validation prompts a score can be measured on."""
        return len(self.harmful if score == "refusal_score" else self.harmless)

    def measure(self, score: str, direction: Direction, prompts: Sequence[int]) -> list[float]:
        """The score of `direction` on these prompts, one value each."""
        ablated = Ablate(direction).at("all")
        if score == "refusal_score":
            return self._metric(self.harmful, prompts, ablated)
        if score == "steering_score":
            return self._metric(self.harmless, prompts, Add(direction).at(direction.site))
        edited = self._logits(self.harmless, prompts, ablated)
        return [float(kl_divergence(self._base_of(i)[None], edited[i][None])) for i in prompts]

    def _metric(self, rows: Sequence[Sequence[int]], prompts: Sequence[int], recipe: Recipe) -> list[float]:
        logits = self._logits(rows, prompts, recipe)
        return [float(refusal_metric(logits[i][None], self.tokens)) for i in prompts]

    def _base_of(self, prompt: int) -> Tensor:
        if prompt not in self._base:
            missing = [i for i in range(len(self.harmless)) if i not in self._base]
            self._base |= self._logits(self.harmless, missing, Recipe())
        return self._base[prompt]

    def _logits(self, rows: Sequence[Sequence[int]], prompts: Sequence[int], recipe: Recipe) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}
        groups, batches = zip(*self.subject.batches([rows[i] for i in prompts], self.batch_size), strict=True)
        with steered(self.subject, recipe):
            logits = self.subject.last_logits(batches)
        for group, part in zip(groups, logits, strict=True):
            found.update((prompts[number], row) for number, row in zip(group, part, strict=True))
        return found


def _shuffled(side: Prompts, seed: int) -> Prompts:
    return side.pick([int(index) for index in np.random.default_rng(seed).permutation(len(side))])


@dataclass
class Ledger:
    """Every measurement made so far, and the rows that follow from them."""

    scorer: Scorer
    candidates: Candidates
    folder: RunFolder | None = None
    _known: dict[tuple[int | None, int, str], dict[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.folder.journal(JOURNAL, Measurement) if self.folder else []:
            self._keep(row)

    @property
    def most(self) -> int:
        """The number of prompts on which every score is measured whole."""
        return max(self.scorer.count(score) for score in SCORES)

    def measure(self, place: Place, score: str, n: int) -> dict[int, float]:
        """The values of a score on the first `n` prompts, measured where they are not known."""
        position, site = place
        known = self._known.get((position, site.layer, score), {})
        missing = [i for i in range(min(n, self.scorer.count(score))) if i not in known]
        if missing:
            values = self.scorer.measure(score, self.candidates[place], missing)
            made = Measurement(position=position, layer=site.layer, score=score, prompts=missing, values=values)
            if self.folder is not None:
                self.folder.log(JOURNAL, made.model_dump(mode="json"))
            self._keep(made)
        return self._known[position, site.layer, score]

    def row(self, place: Place, n: int) -> Row:
        """The candidate's three scores on the first `n` prompts or more, measured where they are not known."""
        return row_of(place[0], place[1].layer, {score: self.measure(place, score, n) for score in SCORES})

    def _keep(self, row: Measurement) -> None:
        kept = self._known.setdefault((row.position, row.layer, row.score), {})
        kept.update(zip(row.prompts, row.values, strict=True))


def row_of(position: int | None, layer: int, values: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    """The row of a candidate: each score's mean, its 95 % interval and its number of prompts."""
    # In the prompts' order, so that the same values give the same sum whichever round measured them.
    scores = {name: _summary(name, [found[i] for i in sorted(found)]) for name, found in values.items()}
    means: dict[str, Any] = {"position": position, "layer": layer, **{n: score.value for n, score in scores.items()}}
    intervals = {name: [score.low, score.high] for name, score in scores.items()}
    return means | {"intervals": intervals, "n": {name: score.n for name, score in scores.items()}}


def rows_of(measurements: Sequence[Measurement]) -> dict[tuple[int | None, int], Row]:
    """The row of every candidate whose scores are among the measurements."""
    known: dict[tuple[int | None, int], dict[str, dict[int, float]]] = {}
    for made in measurements:
        scores = known.setdefault((made.position, made.layer), {score: {} for score in SCORES})
        scores[made.score].update(zip(made.prompts, made.values, strict=True))
    whole = {place: scores for place, scores in known.items() if all(scores.values())}
    return {place: row_of(*place, scores) for place, scores in whole.items()}


def _summary(name: str, values: list[float]) -> Score:
    """The mean with its interval; a direction that breaks the model has no number, which the rule drops."""
    if all(isfinite(value) for value in values):
        return mean_score(name, values)
    return Score(name=name, value=nan, low=None, high=None, n=len(values))
