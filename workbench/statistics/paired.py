"""Did the same items change? Paired tests and intervals.

Yes and no: McNemar's exact test (McNemar 1947). Numbers: a sign-flip permutation test of the mean difference, exact
up to 12 items (Fisher 1935); where no drawn flip comes as far, Hoeffding's bound (1963) on how many would. Means have
a percentile-bootstrap interval of the difference, which draws items, so that what an item has in common before and
after stays together. For rates the bootstrap collapses where nearly all items change, or none do; theirs is Newcombe's
interval of a paired difference (Newcombe 1998, method 10).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict

from workbench.errors import UsageError
from workbench.statistics.intervals import RESAMPLES, rate_score
from workbench.statistics.score import Score

LEVEL = 0.05
_FLIPS = 10_000
_EXACT = 12  # items; 4,096 ways to flip them


class PairedTest(BaseModel):
    """How many of `n` prompts went from no to yes (`gained`) and from yes to no (`lost`), and the exact p."""

    model_config = ConfigDict(frozen=True)

    gained: int
    lost: int
    n: int
    p_value: float


class Difference(BaseModel):
    """The mean change of the same items, with its 95 % interval, its p value, and the p value after correction."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    p_value: float
    adjusted: float | None = None
    test: Literal["McNemar, exact", "sign flips"]
    gained: int | None = None
    lost: int | None = None

    @property
    def score(self) -> Score:
        """The change alone, as a figure draws it and a sentence says it."""
        return Score(name=self.name, value=self.value, low=self.low, high=self.high, n=self.n)

    @property
    def says(self) -> str:
        """What a table may say of it: more, less, or that no difference is shown."""
        p_value = self.p_value if self.adjusted is None else self.adjusted
        if p_value >= LEVEL or self.value == 0:
            return "no difference shown"
        return "more" if self.value > 0 else "less"


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> PairedTest:
    """The exact two-sided McNemar test of `after` against `before`, prompt by prompt."""
    _same_length(before, after)
    from scipy.stats import binomtest

    gained = sum(1 for b, a in zip(before, after, strict=True) if a and not b)
    lost = sum(1 for b, a in zip(before, after, strict=True) if b and not a)
    p_value = 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)
    return PairedTest(gained=gained, lost=lost, n=len(before), p_value=min(p_value, 1.0))


def paired_difference(
    name: str, before: Sequence[float], after: Sequence[float], kind: Literal["rate", "mean"] = "mean", seed: int = 0
) -> Difference:
    """The change from `before` to `after`, item by item; of a `rate`, items are 0 or 1.

    Raises UsageError where the lengths differ, or there is nothing to compare.
    """
    _same_length(before, after)
    if not len(before):
        raise UsageError(f"{name} cannot be compared: there are no items that both were measured on.")
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    low, high = _interval(change, seed) if kind == "mean" else newcombe(before, after)
    where: dict[str, Any] = {"name": name, "value": float(change.mean()), "low": low, "high": high, "n": len(change)}
    if kind == "rate":
        test = mcnemar([bool(b) for b in before], [bool(a) for a in after])
        where |= {"gained": test.gained, "lost": test.lost}
        return Difference(**where, p_value=test.p_value, test="McNemar, exact")
    return Difference(**where, p_value=sign_flip_p_value(change, seed), test="sign flips")


def newcombe(before: Sequence[float], after: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the difference of two paired rates, from their Wilson intervals and their correlation."""
    n = len(before)
    if n < 2:
        return None, None
    both = sum(bool(b) and bool(a) for b, a in zip(before, after, strict=True))
    was, now = (sum(map(bool, side)) for side in (before, after))
    first, second = rate_score("before", was, n), rate_score("after", now, n)
    assert first.low is not None
    assert first.high is not None
    assert second.low is not None
    assert second.high is not None
    spread = math.sqrt(was * (n - was) * now * (n - now))
    # The covariance of the two, with the method's correction for continuity where it is positive.
    shared = both * (n - was - now + both) - (was - both) * (now - both)
    phi = (max(shared - n / 2, 0.0) if shared > 0 else shared) / spread if spread else 0.0
    up = (second.high - second.value, first.value - first.low)
    down = (second.value - second.low, first.high - first.value)
    change = second.value - first.value
    above, below = (math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0)) for a, b in (up, down))
    return max(change - below, -1.0), min(change + above, 1.0)


def sign_flip_p_value(change: Float64[np.ndarray, " n"], seed: int = 0) -> float:
    """The share of ways to flip the signs of `change` whose mean is at least as far from 0."""
    if not change.any():
        return 1.0
    if len(change) <= _EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(change))))
        extra = 0
    else:
        signs = 2.0 * np.random.default_rng(seed).integers(0, 2, size=(_FLIPS, len(change)), dtype=np.int8) - 1.0
        extra = 1  # what was seen is one of the ways
    seen = abs(change.sum())
    far = np.abs(signs @ change) >= seen * (1 - 1e-12)
    drawn = float((far.sum() + extra) / (len(signs) + extra))
    # Draws alone say no less than one in their number, which a large table corrects to 1. Where none is as far, the
    # bound is a p value too: below one in their number it is all that speaks, above it the draws are.
    return drawn if far.any() else min(drawn, 2 * math.exp(-((seen / math.hypot(*change)) ** 2) / 2))


def _interval(change: Float64[np.ndarray, " n"], seed: int) -> tuple[float | None, float | None]:
    if len(change) == 1:
        return None, None
    drawn = np.random.default_rng(seed).integers(0, len(change), size=(RESAMPLES, len(change)))
    low, high = np.quantile(change[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _same_length(before: Sequence[float] | Sequence[bool], after: Sequence[float] | Sequence[bool]) -> None:
    if len(before) != len(after):
        raise UsageError(f"A paired test needs the same prompts twice; got {len(before)} and {len(after)}.")
