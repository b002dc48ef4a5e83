"""95 % intervals: of a rate (Wilson 1927), a mean (percentile bootstrap, seeded), a gap between two samples.

Wilson's interval stays inside [0, 1] and keeps its coverage at rates near 0 and 1, which is where refusal
rates live; the bootstrap assumes nothing of the shape of a KL divergence, which is far from normal. A gap's is made of
the two intervals (Zou and Donner 2008); of two rates that is Newcombe's of independent proportions (1998, method 10).
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from workbench.errors import UsageError
from workbench.statistics.score import Better, Score

RESAMPLES = 2000
Kind = Literal["rate", "mean"]


def rate_score(name: str, hits: int, n: int, better: Better = "neither") -> Score:
    """The share `hits / n` with Wilson's 95 % interval."""
    if n < 1:
        raise UsageError(f"{name} cannot be computed from 0 observations; give it at least one prompt.")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=0.05, method="wilson")
    # At 0 and n hits the closed form leaves a rounding error of 1e-18 outside the rate itself.
    value = hits / n
    return Score(name=name, value=value, low=min(float(low), value), high=max(float(high), value), n=n, better=better)


def mean_score(name: str, values: Sequence[float], better: Better = "neither", seed: int = 0) -> Score:
    """The mean of `values` with a percentile-bootstrap 95 % interval."""
    if len(values) < 1:
        raise UsageError(f"{name} cannot be computed from 0 observations; give it at least one prompt.")
    sample = np.asarray(values, dtype=np.float64)
    if not np.isfinite(sample).all():
        raise UsageError(f"{name} has {np.sum(~np.isfinite(sample))} values that are not finite numbers.")
    if len(sample) == 1:
        return Score(name=name, value=float(sample[0]), low=None, high=None, n=1, better=better)
    drawn = np.random.default_rng(seed).integers(0, len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.quantile(sample[drawn].mean(axis=1), [0.025, 0.975])
    return Score(name=name, value=float(sample.mean()), low=float(low), high=float(high), n=len(sample), better=better)


def score_of(name: str, kind: Kind, values: Sequence[float], better: Better = "neither") -> Score:
    """The rate of yes (1) among yes and no (0), or the mean, of values; UsageError where a rate is of anything else."""
    if kind == "mean":
        return mean_score(name, values, better)
    odd = [value for value in values if value not in (0.0, 1.0)]
    if odd:
        raise UsageError(f"{name} is a rate of yes (1) and no (0), and a value is {odd[0]:g}; declare it a mean.")
    return rate_score(name, sum(value == 1.0 for value in values), len(values), better)


def gap_interval(first: Score, second: Score) -> tuple[float | None, float | None]:
    """The 95 % interval of `second` - `first`, measured on other items; (None, None) where either has none."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None, None
    gap = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return gap - below, gap + above
