"""Many tests in one table: Holm's step-down correction (Holm 1979), which bounds the chance of any false finding.

adjusted_(i) = max over j <= i of (m - j + 1) p_(j), at most 1        p_(1) <= ... <= p_(m)
"""

from collections.abc import Sequence

import numpy as np

from workbench.statistics.paired import Difference


def holm(differences: Sequence[Difference], share: float = 1.0) -> list[Difference]:
    """The same differences, each with its p value adjusted for all of them.

    Families that are tested beside each other have a `share` of the error each (Bonferroni), such as a half.
    """
    raw = np.array([difference.p_value for difference in differences])
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)) / share, 1.0)
    return [d.model_copy(update={"adjusted": float(p)}) for d, p in zip(differences, adjusted, strict=True)]
