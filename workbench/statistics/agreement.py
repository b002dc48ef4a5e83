"""How far two people, or a judge and a person, agree beyond chance: Cohen's kappa (Cohen 1960)."""

from collections.abc import Sequence

import numpy as np

from workbench.errors import UsageError
from workbench.statistics.intervals import RESAMPLES
from workbench.statistics.score import Score


def kappa_score(name: str, first: Sequence[str], second: Sequence[str], seed: int = 0) -> Score:
    """Cohen's kappa with a percentile-bootstrap 95 % interval.

    Raises UsageError where there is nothing to compare, or where both gave everything the same label: agreement by
    chance is then certain, and kappa has no value.
    """
    if len(first) != len(second) or not first:
        raise UsageError(f"Agreement needs the same items labelled twice; got {len(first)} and {len(second)} labels.")
    if len({*first, *second}) < 2:
        raise UsageError(f"All {len(first)} labels are {first[0]!r}, so agreement beyond chance cannot be told.")
    names = {label: place for place, label in enumerate(sorted({*first, *second}))}
    one, two = (np.array([names[label] for label in labels]) for labels in (first, second))
    drawn = np.random.default_rng(seed).integers(0, len(one), size=(RESAMPLES, len(one)))
    resampled = _kappas(one[drawn], two[drawn], len(names))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    value = float(_kappas(one[None], two[None], len(names))[0])
    return Score(name=name, value=value, low=float(low), high=float(high), n=len(one), better="higher")


def _kappas(one: np.ndarray, two: np.ndarray, labels: int) -> np.ndarray:
    """Kappa of each row; not a number where a row holds one label alone."""
    seen = (one == two).mean(axis=1)
    shares = [np.stack([(row == label).mean(axis=1) for label in range(labels)]) for row in (one, two)]
    chance = (shares[0] * shares[1]).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((seen - chance) / (1 - chance))
