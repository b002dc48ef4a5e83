"""Nested cross-validation: what a probe says of prompts whose topics it has not seen.

1. Outer folds of topics. What is left outside a fold chooses among the method's candidates on inner folds, again of
   topics; the best is fitted to all of it and read on the fold.
2. Each fold's decisions are put in class gaps of its own fitting prompts (0: their negative mean, 1: the positive one),
   so that one threshold has one meaning.
3. The threshold and the calibration (Platt 1999) of a fold are those of the other folds' decisions. What is reported of
   either was therefore not used for it; the probe's own are of all decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from probes.linear.folds import grouped_folds
from probes.linear.reading import auroc_draws, calibration_errors, drawn_rate, score_of, threshold_at
from probes.linear.settings import ProbeSettings
from workbench.runs import track
from workbench.statistics import Score

Labels = Bool[np.ndarray, " n"]
Numbers = Float64[np.ndarray, " n"]
Places = Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was decided of each prompt by the probe of its fold, and the candidate that each fold chose."""

    decisions: Numbers
    positive: Labels
    folds: Places
    chosen: tuple[int, ...]


def held_out(candidates: Sequence[Any], x: np.ndarray, positive: Labels, groups: Places, how: ProbeSettings) -> HeldOut:
    """Decisions on every prompt; `x` is what the pipelines take, activations or texts.

    Raises ProbeError where there is one class only, or fewer prompts or topics than folds.
    """
    folds = grouped_folds(positive, groups, how.folds, how.seed)
    chosen = tuple(
        chosen_candidate(candidates, x[folds != fold], positive[folds != fold], groups[folds != fold], how)
        for fold in track(range(how.folds), "Choosing on inner folds")
    )
    return HeldOut(decided(candidates, x, positive, folds, chosen), positive, folds, chosen)


def chosen_candidate(
    candidates: Sequence[Any], x: np.ndarray, positive: Labels, groups: Places, how: ProbeSettings
) -> int:
    """The candidate of highest AUROC on inner folds; of equals the first, which is the most regularised."""
    if len(candidates) == 1:
        return 0
    few = min(int(positive.sum()), int((~positive).sum()), len(set(groups.tolist())))
    inner = max(2, min(how.inner_folds, few))
    folds = grouped_folds(positive, groups, inner, how.seed)
    each = np.ones((1, len(positive)))
    read = []
    for number in range(len(candidates)):
        said = decided(candidates, x, positive, folds, (number,) * inner)
        # One that gave every feature weight 0 has read nothing, which may beat reading noise and is no probe.
        read.append(auroc_draws(said, positive, folds, each)[0] if np.ptp(said) > 0 else 0.0)
    return int(np.argmax(np.round(read, 6)))


def decided(
    candidates: Sequence[Any], x: np.ndarray, positive: Labels, folds: Places, chosen: Sequence[int]
) -> Numbers:
    """Each prompt's decision by a probe that was fitted outside its fold, in that probe's class gaps."""
    found = np.empty(len(positive))
    for fold, number in enumerate(chosen):
        fit, test = folds != fold, folds == fold
        pipeline = clone(candidates[number]).fit(x[fit], positive[fit])
        found[test] = in_gaps(pipeline.decision_function(x[test]), pipeline.decision_function(x[fit]), positive[fit])
    return found


def in_gaps(decisions: Numbers, fitted: Float64[np.ndarray, " m"], positive: Bool[np.ndarray, " m"]) -> Numbers:
    """Decisions in class gaps of those that a probe was fitted to; as they are where there is no gap."""
    origin = fitted[~positive].mean()
    gap = fitted[positive].mean() - origin
    return np.asarray((decisions - origin) / (gap if gap > 0 else 1.0))


def platt(decisions: Numbers, positive: Labels) -> tuple[float, float]:
    """Slope and intercept of the probability that a decision is positive.

    Shrunk a little, so that classes which nothing parts are not taken for certain.
    """
    fitted = LogisticRegression(C=1.0).fit(decisions[:, None], positive)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def alarms(held: HeldOut, rate: float, draws: Float64[np.ndarray, "draw n"]) -> tuple[Score, Score]:
    """The share of positive and of negative prompts above a threshold that other folds set at `rate`."""
    above = np.zeros(len(held.positive), dtype=bool)
    for fold in np.unique(held.folds):
        rows = held.folds == fold
        above[rows] = held.decisions[rows] > threshold_at(held.decisions[~rows & ~held.positive], rate)
    return (
        drawn_rate("detected", above, held.positive, draws, "higher"),
        drawn_rate("false alarms", above, ~held.positive, draws, "lower"),
    )


def calibration(held: HeldOut, draws: Float64[np.ndarray, "draw n"]) -> Score:
    """The calibration error of probabilities that other folds calibrated."""
    said = np.empty(len(held.positive))
    for fold in np.unique(held.folds):
        rows = held.folds == fold
        slope, intercept = platt(held.decisions[~rows], held.positive[~rows])
        said[rows] = 1 / (1 + np.exp(-(slope * held.decisions[rows] + intercept)))
    errors = calibration_errors(said, held.positive, draws)
    return score_of("calibration error", errors, len(said), "lower")
