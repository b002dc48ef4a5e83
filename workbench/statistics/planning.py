"""How many items does an interval need? The smallest n whose 95 % interval is as narrow as asked."""

import math
from collections.abc import Callable
from itertools import takewhile

from workbench.errors import UsageError
from workbench.statistics.intervals import rate_score

_Z = 1.959964
_MOST = 10_000_000


def half_width(rate: float, n: int) -> float:
    """Half the width of Wilson's 95 % interval of a rate at n observations, hits rounded to the nearest."""
    score = rate_score("rate", round(rate * n), n)
    assert score.low is not None
    assert score.high is not None
    return (score.high - score.low) / 2


def least_n_for_rate(width: float, rate: float = 0.5) -> int:
    """The smallest n at which a rate near `rate` has an interval of at most plus or minus `width`, and stays so."""
    _check(width, 0.5)
    if not 0.0 <= rate <= 1.0:
        raise UsageError(f"A rate is from 0 to 1, not {rate:g}.")
    top = next(n for n in takewhile(lambda n: n <= _MOST, (2**k for k in range(1, 40))) if half_width(rate, n) <= width)
    wide: Callable[[int], bool] = lambda n: half_width(rate, n) > width  # noqa: E731
    # Hits are whole numbers, so that the width shakes a little as n grows: the last n that is too wide decides.
    return max((n for n in range(1, top + 1) if wide(n)), default=0) + 1 if top <= 4096 else _bisected(wide, top)


def least_n_for_mean(width: float, deviation: float) -> int:
    """The smallest n at which a mean of items with this standard deviation has an interval of plus or minus `width`."""
    _check(width, math.inf)
    return max(2, math.ceil((_Z * deviation / width) ** 2))


def _bisected(wide: Callable[[int], bool], top: int) -> int:
    low, high = top // 2, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def _check(width: float, most: float) -> None:
    if not 0.001 <= width <= most:
        raise UsageError(f"An interval of plus or minus {width:g} cannot be planned; ask for 0.001 or more.")
