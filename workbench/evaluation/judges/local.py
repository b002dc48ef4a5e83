"""The local judge: four outcomes, no download, no model to ask.

1. What is empty, noise or a loop is broken, by the plain rules.
2. Everything else is weighed: features of prompt and reply (`features`), standardised, through a logistic regression
   over the four outcomes that scikit-learn fitted to labels given by hand (`experiments/judging`).

Its weights are a JSON file beside it, with its agreement (Cohen's kappa) with labels of replies to other prompts,
which it was not fitted to. The labels are of two small models, unedited, edited and damaged: on larger models, other
languages or long replies it has not been measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict

from workbench.evaluation.features import features
from workbench.evaluation.judges import Exchange, Judge, Verdict, judges
from workbench.evaluation.outcomes import Outcome, why_broken
from workbench.evaluation.rules import digest_of_code
from workbench.runs import digest_json, track
from workbench.statistics import Score

_RULES = ("workbench.evaluation.outcomes", "workbench.evaluation.features", __name__)
_AT_ONCE = 2000  # replies whose features are held


class Weights(BaseModel):
    """A fitted judge: one row of `coefficients` and one intercept an outcome, on standardised features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]
    fitted_to: int
    agreement: Score
    agreement_by_model: dict[str, Score] = {}
    agreement_elsewhere: Score | None = None  # with labels of replies to prompts of another source

    def probabilities(self, rows: Sequence[dict[str, float]]) -> Float64[np.ndarray, "reply outcome"]:
        """How likely each outcome is, for each reply's features."""
        matrix = np.array([[row[name] for name in self.features] for row in rows], dtype=np.float64)
        standard = (matrix - np.array(self.mean)) / np.array(self.scale)
        scores = standard @ np.array(self.coefficients).T + np.array(self.intercepts)
        shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


@cache
def shipped() -> Weights:
    """The weights that come with the workbench."""
    text = files("workbench.evaluation").joinpath("data", "local_judge.json").read_text(encoding="utf-8")
    return Weights.model_validate_json(text)


@judges.register("local")
@dataclass(frozen=True)
class LocalJudge(Judge):
    """Rules for what is broken, and a fitted weighing of features for the rest."""

    weights: Weights | None = None

    def __call__(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        starts = range(0, len(exchanges), _AT_ONCE)
        found: list[Verdict] = []
        for start in starts if len(starts) < 2 else track(starts, "Judging replies"):
            found.extend(self._some(exchanges[start : start + _AT_ONCE]))
        return found

    @property
    def agreement(self) -> Score | None:
        return self._weights.agreement

    @property
    def identity(self) -> dict[str, Any]:
        weights = digest_json(self._weights.model_dump(mode="json"))[:16]
        return super().identity | {"weights": weights, "rules": digest_of_code(*_RULES)}

    @property
    def _weights(self) -> Weights:
        return self.weights or shipped()

    def _some(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        broken = [why_broken(exchange.reply) for exchange in exchanges]
        weighed = [exchange for exchange, why in zip(exchanges, broken, strict=True) if not why]
        likely = iter(self._weights.probabilities([features(*each) for each in weighed]) if weighed else ())
        return [Verdict(outcome=Outcome.BROKEN, why=why) if why else self._called(next(likely)) for why in broken]

    def _called(self, likely: Float64[np.ndarray, " outcome"]) -> Verdict:
        best = int(likely.argmax())
        return Verdict(outcome=self._weights.outcomes[best], why=f"weighed, {likely[best]:.0%} sure")
