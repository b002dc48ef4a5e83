"""The local judge: four outcomes, no download, no model to ask.

1. What is empty, noise, a loop or in the wrong language is broken, by the plain rules.
2. What is in another language than English, as its prompt is or asks, stays unjudged: the features read English.
3. Everything else is weighed: features of prompt and reply (`features`), standardised, through a logistic regression
   over the four outcomes that scikit-learn fitted to labels given by hand (`experiments/judging`).

Its weights are a JSON file beside it, with its agreement (Cohen's kappa) with labels of replies to other prompts,
which it was not fitted to. The labels are of two small models, unedited, edited and damaged: on larger models or long
replies it has not been measured.
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
from workbench.evaluation.languages import language_of
from workbench.evaluation.outcomes import Outcome, why_broken
from workbench.evaluation.rules import identity_of_rules
from workbench.runs import digest_json, track
from workbench.statistics import Score

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
        return super().identity | {"weights": weights} | identity_of_rules("workbench.evaluation.features", __name__)

    @property
    def _weights(self) -> Weights:
        return self.weights or shipped()

    def _some(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        plain = [_by_rule(exchange) for exchange in exchanges]
        weighed = [exchange for exchange, verdict in zip(exchanges, plain, strict=True) if verdict is None]
        likely = iter(self._weights.probabilities([features(*each) for each in weighed]) if weighed else ())
        return [self._called(next(likely)) if verdict is None else verdict for verdict in plain]

    def _called(self, likely: Float64[np.ndarray, " outcome"]) -> Verdict:
        best = int(likely.argmax())
        return Verdict(outcome=self._weights.outcomes[best], why=f"weighed, {likely[best]:.0%} sure")


def _by_rule(exchange: Exchange) -> Verdict | None:
    """What no weighing is needed for, or of any use."""
    prompt, reply = exchange
    if broken := why_broken(reply, prompt):
        return Verdict(outcome=Outcome.BROKEN, why=broken)
    language = language_of(reply)
    return None if language in ("", "en") else Verdict(outcome=None, why=f"in {language}, which this judge cannot read")
