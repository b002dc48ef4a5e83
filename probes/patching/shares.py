"""The share of a difference that is restored: a ratio of means over pairs, with its interval.

    share = mean_i(patched_i - own_i) / mean_i(other_i - own_i)

1 means that the patched runs end as the other runs do, 0 that nothing happened. Both means are resampled together
(percentile bootstrap of pairs, 95 %), so that the interval knows of the denominator too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from workbench.errors import UsageError
from workbench.statistics import Score
from workbench.statistics.intervals import RESAMPLES

_LEAST_GAP = 1e-6


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of any number of places, as arrays of the same shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int

    def score(self, name: str, place: tuple[int, ...]) -> Score:
        """One of them."""
        return Score(
            name=name, value=float(self.value[place]), low=float(self.low[place]), high=float(self.high[place]),
            n=self.n,
        )  # fmt: skip


def require_gap(gaps: Float64[Tensor, " pair"]) -> None:
    """Raise UsageError where the two runs do not differ, so that there is nothing to restore."""
    if len(gaps) < 2:
        raise UsageError(f"A share needs an interval, and {len(gaps)} pair allows none; give two or more.")
    if abs(float(gaps.mean())) < _LEAST_GAP:
        raise UsageError(
            f"Over {len(gaps)} pairs both runs have the same metric on average, so there is no difference to restore; "
            "choose prompts that the model answers differently."
        )


def shares(effects: Float64[Tensor, "*place pair"], gaps: Float64[Tensor, " pair"], seed: int = 0) -> Shares:
    """Shares with 95 % intervals over pairs."""
    require_gap(gaps)
    n = len(gaps)
    drawn = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=n) / n
    below = counts @ gaps.numpy()
    # A resample whose two runs are alike has no share; leaving it out would hide how wide the interval is.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (effects.numpy() @ counts.T) / below
    low, high = np.quantile(np.where(np.isnan(ratios), 0.0, ratios), [0.025, 0.975], axis=-1)
    return Shares(effects.numpy().mean(axis=-1) / float(gaps.mean()), low, high, n)


def columns(real: Shares, control: Shares, place: tuple[int, ...]) -> Mapping[str, float | int]:
    """A place's share and its control's, as columns of a table."""
    found: dict[str, float | int] = {"n": real.n}
    for name, each in (("share", real), ("control", control)):
        found |= {name: float(each.value[place]), f"{name}_low": float(each.low[place])}
        found |= {f"{name}_high": float(each.high[place])}
    return found


def halves(n: int) -> tuple[Sequence[int], Sequence[int]]:
    """Numbers to choose by, and numbers to report on."""
    return tuple(range(0, n, 2)), tuple(range(1, n, 2))
