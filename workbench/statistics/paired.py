"""Did the same prompts change? McNemar's exact test on paired yes/no outcomes (McNemar 1947)."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from workbench.errors import UsageError


class PairedTest(BaseModel):
    """How many of `n` prompts went from no to yes (`gained`) and from yes to no (`lost`), and the exact p."""

    model_config = ConfigDict(frozen=True)

    gained: int
    lost: int
    n: int
    p_value: float


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> PairedTest:
    """The exact two-sided McNemar test of `after` against `before`, prompt by prompt."""
    if len(before) != len(after):
        raise UsageError(f"A paired test needs the same prompts twice; got {len(before)} and {len(after)}.")
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    gained = sum(1 for b, a in zip(before, after, strict=True) if a and not b)
    lost = sum(1 for b, a in zip(before, after, strict=True) if b and not a)
    both = sum(1 for b, a in zip(before, after, strict=True) if a and b)
    table = [[both, lost], [gained, len(before) - both - gained - lost]]
    p_value = 1.0 if gained + lost == 0 else float(exact_test(table, exact=True).pvalue)
    return PairedTest(gained=gained, lost=lost, n=len(before), p_value=min(p_value, 1.0))
