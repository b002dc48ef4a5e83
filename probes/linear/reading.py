"""How well decisions tell two classes apart: AUROC, with an interval that draws topics.

1. Decisions of different folds come from different probes, so only pairs of one fold are compared; pooled, a fold's
   intercept would leak how many of each class were left to fit on (Airola et al. 2011).
2. The bootstrap draws whole topics, for prompts of one topic are no independent witnesses. The same draws serve a probe
   and its controls, so that their difference has an interval of its own.
3. Where every draw gives the same, as when no pair is in the wrong order, the bootstrap is blind; there the interval is
   that of Newcombe (2006, method 5), of prompts.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.optimize import brentq

from probes.linear.folds import topic_groups
from workbench.prompts import Prompts
from workbench.statistics import Better, Score, rate_score

DRAWS = 1000
_Z = 1.959964
_BINS = 10


def topic_draws(groups: Int[np.ndarray, " n"], seed: int = 0, draws: int = DRAWS) -> Float64[np.ndarray, "draw n"]:
    """How often each prompt is drawn, draw by draw; the first row is the sample itself."""
    names, number = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.concatenate([np.ones((1, len(groups))), drawn[:, number]]).astype(np.float64)


def auroc_draws(
    decisions: Float64[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    folds: Int[np.ndarray, " n"],
    draws: Float64[np.ndarray, "draw n"],
) -> Float64[np.ndarray, " draw"]:
    """The AUROC of each draw: the share of pairs of one fold in the right order, ties by half."""
    won, pairs = np.zeros(len(draws)), np.zeros(len(draws))
    for fold in np.unique(folds):
        ours, theirs = (np.flatnonzero((folds == fold) & side) for side in (positive, ~positive))
        gap = decisions[ours][:, None] - decisions[theirs][None]
        won += ((draws[:, ours] @ ((gap > 0) + 0.5 * (gap == 0))) * draws[:, theirs]).sum(axis=1)
        pairs += draws[:, ours].sum(axis=1) * draws[:, theirs].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(won / pairs)


def score_of(name: str, drawn: Float64[np.ndarray, " draw"], n: int, better: Better = "higher") -> Score:
    """The first draw's value, between the 2.5th and 97.5th percentile of the others."""
    value, rest = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
    if not len(rest):
        return Score(name=name, value=value, low=None, high=None, n=n, better=better)
    low, high = (float(end) for end in np.quantile(rest, [0.025, 0.975]))
    return Score(name=name, value=value, low=min(low, value), high=max(high, value), n=n, better=better)


def drawn_rate(
    name: str, yes: Bool[np.ndarray, " n"], of: Bool[np.ndarray, " n"], draws: Float64[np.ndarray, "draw n"],
    better: Better,
) -> Score:  # fmt: skip
    """The share of the prompts `of` that say yes; where every draw agrees, Wilson's interval, of prompts."""
    with np.errstate(invalid="ignore"):
        drawn = draws[:, of] @ yes[of] / draws[:, of].sum(axis=1)
    if yes[of].all() or not yes[of].any():
        return rate_score(name, int(yes[of].sum()), int(of.sum()), better)
    return score_of(name, drawn, int(of.sum()), better)


def no_gain(gains: Mapping[str, Score]) -> tuple[str, ...]:
    """The controls over which no gain is shown: its interval, or where there is none its value, is not above 0."""
    return tuple(name for name, gain in gains.items() if (gain.value if gain.low is None else gain.low) <= 0)


def auroc_score(name: str, drawn: Float64[np.ndarray, " draw"], positive: Bool[np.ndarray, " n"]) -> Score:
    """The same of an AUROC, also where every draw agrees."""
    found = score_of(name, drawn, len(positive))
    if found.low is None or found.value not in (0.0, 1.0) or found.low < found.high:  # type: ignore[operator]
        return found
    reach = _beyond(int(positive.sum()), int((~positive).sum()))
    ends = {"low": 1 - reach} if found.value == 1.0 else {"high": reach}
    return found.model_copy(update=ends)


def separation_of(
    name: str, one: Float64[np.ndarray, " m"], other: Float64[np.ndarray, " k"], prompts: Prompts, seed: int = 0
) -> Score:
    """The AUROC of the decisions `one` against `other`; `prompts` are those of `one`, then those of `other`."""
    decisions = np.concatenate([one, other])
    positive = np.arange(len(decisions)) < len(one)
    draws = topic_draws(topic_groups(prompts, positive), seed)
    return auroc_score(name, auroc_draws(decisions, positive, np.zeros(len(decisions), dtype=int), draws), positive)


def _beyond(m: int, n: int) -> float:
    """How far from 1 an AUROC may be of which m and n prompts show no pair in the wrong order."""
    pairs = (m + n) / 2 - 1

    def fault(miss: float) -> float:
        theta = 1 - miss
        variance = theta * miss * (1 + pairs * miss / (2 - theta) + pairs * theta / (1 + theta)) / (m * n)
        return miss - _Z * sqrt(variance)

    return float(brentq(fault, 1e-12, 1.0)) if m > 0 < n else 1.0


def threshold_at(negative: Float64[np.ndarray, " m"], rate: float) -> float:
    """The least decision that at most a share `rate` of the negative ones exceeds."""
    return float(np.sort(negative)[::-1][min(int(rate * len(negative)), len(negative) - 1)])


def calibration_errors(
    probability: Float64[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float64[np.ndarray, "draw n"]
) -> Float64[np.ndarray, " draw"]:
    """The expected calibration error of each draw (Naeini et al. 2015), in ten bins of as many prompts.

    It is never below 0, and so above it by chance alone, the more the fewer prompts there are.
    """
    bins = np.array_split(np.argsort(probability, kind="stable"), min(_BINS, len(probability)))
    gaps = [np.abs(draws[:, rows] @ (probability[rows] - positive[rows])) for rows in bins]
    return np.asarray(np.sum(gaps, axis=0) / draws.sum(axis=1))
