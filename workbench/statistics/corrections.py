"""Many tests in one table: Holm's step-down correction (Holm 1979), which bounds the chance of any false finding."""

from collections.abc import Sequence

from workbench.statistics.paired import Difference


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences, each with its p value adjusted for all of them."""
    if not differences:
        return []
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([difference.p_value for difference in differences], method="holm")[1]
    return [d.model_copy(update={"adjusted": float(p)}) for d, p in zip(differences, adjusted, strict=True)]
