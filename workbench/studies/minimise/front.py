"""The front: how much refusal is left against how much damage is done, and which point is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from workbench.display import Shown
from workbench.statistics import Score, mean_score, rate_score
from workbench.studies.minimise.settings import MinimiseSettings

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure


class Point(BaseModel):
    """One set of dials on its way, measured on the validation prompts: one value a prompt."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: int
    refusal: list[float]
    damage: list[float]
    strengths: list[list[float]]

    @property
    def refused(self) -> Score:
        """The share of harmful prompts whose reply would more likely than not begin as a refusal."""
        hits = sum(value > 0 for value in self.refusal)
        return rate_score("begins as a refusal", hits, len(self.refusal), "lower")

    @property
    def metric(self) -> Score:
        return mean_score("refusal metric", self.refusal, "lower")

    @property
    def kl(self) -> Score:
        return mean_score("KL, first token", self.damage, "lower")

    def to_json(self) -> dict[str, Any]:
        scores = {name: getattr(self, name).model_dump() for name in ("refused", "metric", "kl")}
        return {"step": self.step, **scores}


@dataclass(frozen=True)
class Front(Shown):
    """All points in the order in which they were reached; the first is the unedited model."""

    points: Sequence[Point]
    settings: MinimiseSettings

    def __repr__(self) -> str:
        best = self.chosen
        return f"Front({len(self.points)} points, chosen step {best.step}: KL {best.kl}, metric {best.metric})"

    @property
    def chosen(self) -> Point:
        """The least damage among the points that leave no more refusal than allowed, else the least refusal."""
        done = [point for point in self.points if self.is_enough(point)]
        if done:
            return min(done, key=lambda point: point.kl.value)
        return min(self.points, key=lambda point: (point.refused.value, point.metric.value))

    @property
    def reached(self) -> bool:
        """Whether the chosen point leaves no more refusal than allowed, within the budget."""
        return self.is_enough(self.chosen) and self.chosen.kl.value <= self.settings.budget

    @property
    def best(self) -> list[int]:
        """The numbers of the points that no other beats on both."""
        return pareto([(point.metric.value, point.kl.value) for point in self.points])

    def is_enough(self, point: Point) -> bool:
        """Whether a point leaves no more refusal than allowed."""
        few = point.refused.value <= self.settings.most_refused
        return few and point.metric.value <= -self.settings.margin

    def to_json(self) -> dict[str, Any]:
        rows = [point.to_json() for point in self.points]
        return {"points": rows, "best": self.best, "chosen": self.chosen.step, "reached": self.reached}

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a point; what has an interval, in columns of its own."""
        import pandas

        rows = [point.to_json() | {"chosen": point is self.chosen} for point in self.points]
        return pandas.json_normalize(rows)

    def plot(self) -> "Figure":
        """Refusal metric against KL, every point named by its step, with the budget."""
        from workbench.plots import tradeoff_figure

        kls, metrics = [p.kl for p in self.points], [p.metric for p in self.points]
        return tradeoff_figure(
            [s.value for s in kls],
            [s.value for s in metrics],
            [f"step {point.step}" for point in self.points],
            self.best,
            list(self.points).index(self.chosen),
            bounds=([_bounds(s) for s in kls], [_bounds(s) for s in metrics]),
            limit=self.settings.budget,
            x="Damage: KL(base || edited) at the first token of replies to harmless prompts (nats)",
            y="Refusal metric of harmful prompts (log-odds)",
        )


def _bounds(score: Score) -> tuple[float, float]:
    return (score.value if score.low is None else score.low, score.value if score.high is None else score.high)


def pareto(pairs: Sequence[tuple[float, float]]) -> list[int]:
    """The numbers of the pairs that none beats on both, both being better when smaller, by the first."""
    order = np.lexsort((np.array([b for _, b in pairs]), np.array([a for a, _ in pairs])))
    kept, least = [], float("inf")
    for index in order:
        if pairs[index][1] < least:
            kept.append(int(index))
            least = pairs[index][1]
    return kept
