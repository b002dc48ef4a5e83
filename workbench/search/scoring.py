"""Score every candidate direction by running the model, as Arditi et al. 2024 do.

bypass   mean refusal metric on harmful prompts, the direction ablated everywhere
induce   mean refusal metric on harmless prompts, the raw direction added at its layer's input
KL       mean KL(base || ablated) of the next-token distribution on harmless prompts
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from pydantic import ConfigDict
from torch import Tensor
from typing_extensions import TypedDict

from workbench.directions import Direction
from workbench.evaluation.metrics import kl_divergence
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Batch, Site, Subject, token_rows
from workbench.prompts import ContrastPairs
from workbench.runs import RunFolder, track
from workbench.search.choosing import Row
from workbench.search.refusal import metric_of
from workbench.statistics import Score, mean_score

JOURNAL = "candidates.jsonl"


class ScoredRow(TypedDict):
    """A candidate and its scores, as the journal keeps them."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    position: int | None
    layer: int
    refusal_score: float
    steering_score: float
    kl_div_score: float
    intervals: dict[str, list[float | None]]
    n: dict[str, int]


Candidates = Mapping[tuple[int | None, Site], Direction]


@dataclass(frozen=True)
class Scorer:
    """The validation prompts, prepared once."""

    subject: Subject
    tokens: tuple[int, ...]
    harmful: Sequence[tuple[list[int], Batch]]
    harmless: Sequence[tuple[list[int], Batch]]
    base: Sequence[Tensor]  # next-token logits of the unedited model, a batch of harmless prompts each

    @classmethod
    def prepare(cls, subject: Subject, pairs: ContrastPairs, tokens: tuple[int, ...], batch_size: int) -> "Scorer":
        harmful, harmless = (
            subject.batches(token_rows(subject, side), batch_size) for side in (pairs.positive, pairs.negative)
        )
        base = [subject.logits(batch, last_only=True)[:, -1] for _, batch in harmless]
        return cls(subject, tokens, harmful, harmless, base)

    def score(self, direction: Direction) -> dict[str, Any]:
        """The three scores of one direction, each with its 95 % interval and the number of prompts."""
        ablated = Ablate(direction).at("all")
        added = Add(direction).at(direction.site)
        values = {
            "refusal_score": metric_of(self.subject, self.harmful, ablated, self.tokens),
            "steering_score": metric_of(self.subject, self.harmless, added, self.tokens),
            "kl_div_score": self._divergence(ablated),
        }
        scores = {name: _summary(name, found) for name, found in values.items()}
        means: dict[str, Any] = {name: score.value for name, score in scores.items()}
        intervals = {name: [score.low, score.high] for name, score in scores.items()}
        return means | {"intervals": intervals, "n": {name: score.n for name, score in scores.items()}}

    def _divergence(self, ablated: Recipe) -> list[float]:
        found: list[float] = []
        for (_, batch), base in zip(self.harmless, self.base, strict=True):
            with steered(self.subject, ablated):
                edited = self.subject.logits(batch, last_only=True)[:, -1]
            found.extend(kl_divergence(base, edited).tolist())
        return found


def _summary(name: str, values: list[float]) -> Score:
    """The mean with its interval; a direction that breaks the model has no number, which the rule drops."""
    if all(isfinite(value) for value in values):
        return mean_score(name, values)
    return Score(name=name, value=nan, low=None, high=None, n=len(values))


def score_candidates(scorer: Scorer, candidates: Candidates, folder: RunFolder | None) -> list[Row]:
    """A row for each candidate; rows that the folder's journal holds are not computed again."""
    stored = folder.journal(JOURNAL, ScoredRow) if folder else []
    known: dict[tuple[int | None, int], Row] = {(row["position"], row["layer"]): row for row in stored}
    for (position, site), direction in track(list(candidates.items()), "Scoring candidates"):
        place = (position, site.layer)
        if place not in known:
            known[place] = {"position": position, "layer": site.layer, **scorer.score(direction)}
            if folder is not None:
                folder.log(JOURNAL, known[place])
    return [known[position, site.layer] for position, site in candidates]
