"""The selection rule of Arditi et al. 2024, appendix C.

1. Drop what is not a number.
2. Drop layers from int((1 - drop_last) L) on: too near the unembedding.
3. Drop where KL > kl_max: ablating it changes harmless answers.
4. Drop where induce < induce_min: adding it does not cause refusals.
5. Of the rest, the smallest bypass wins.

`refusal_score` is bypass (refusal metric on harmful prompts under ablation), `steering_score` is induce (on
harmless prompts under addition), `kl_div_score` the divergence on harmless prompts under ablation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from workbench.errors import UsageError

Row = Mapping[str, Any]
SCORES = ("refusal_score", "steering_score", "kl_div_score")
BROKEN = 1.0  # nats, ten times the paper's limit


class Choice(NamedTuple):
    """The winner's row, or None; and for each rule how many candidates it dropped."""

    winner: Row | None
    reasons: dict[str, int]


def choose(
    evaluations: Sequence[Row],
    n_layers: int,
    *,
    kl_max: float | None = 0.1,
    induce_min: float | None = 0.0,
    drop_last: float = 0.2,
) -> Choice:
    """Choose among rows of position, layer, refusal_score, steering_score and kl_div_score.

    `kl_max` or `induce_min` None switches that rule off. A candidate counts for the first rule that drops it.
    """
    missing = {"position", "layer", *SCORES} - set(evaluations[0] if evaluations else {})
    if evaluations and missing:
        raise UsageError(f"The evaluations lack {', '.join(sorted(missing))}; score the candidates first.")
    reasons: dict[str, int] = {}
    passing = []
    for row in evaluations:
        reason = _dropped_by(row, last_layer(n_layers, drop_last), kl_max, induce_min)
        if reason is None:
            passing.append(row)
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    winner = min(passing, key=lambda row: (row["refusal_score"], row["kl_div_score"]), default=None)
    return Choice(winner, reasons)


def last_layer(n_layers: int, drop_last: float = 0.2) -> int:
    """The first layer that is too late, as the authors' code computes it."""
    return int(n_layers * (1.0 - drop_last))


def relaxed_choice(evaluations: Sequence[Row], n_layers: int, drop_last: float = 0.2) -> Row | None:
    """The smallest bypass below the late layers, whatever its induce: outside the paper's rule.

    A broken model refuses nothing, so that a direction which breaks it has the smallest bypass of all: those with a KL
    above `BROKEN` come in only where there are no others.
    """
    for kl_max in (BROKEN, None):
        found = choose(evaluations, n_layers, kl_max=kl_max, induce_min=None, drop_last=drop_last).winner
        if found is not None:
            return found
    return None


def pareto_front(evaluations: Sequence[Row]) -> list[int]:
    """Indices of the rows that no other row beats on both bypass and KL, by KL."""
    finite = [i for i, row in enumerate(evaluations) if all(math.isfinite(row[name]) for name in SCORES)]
    ordered = sorted(finite, key=lambda i: (evaluations[i]["kl_div_score"], evaluations[i]["refusal_score"]))
    front: list[int] = []
    for index in ordered:
        if not front or evaluations[index]["refusal_score"] < evaluations[front[-1]]["refusal_score"]:
            front.append(index)
    return front


def _dropped_by(row: Row, too_late: int, kl_max: float | None, induce_min: float | None) -> str | None:
    if any(math.isnan(row[name]) for name in SCORES):
        return "not a number"
    if row["layer"] >= too_late:
        return f"layer >= {too_late}"
    if kl_max is not None and row["kl_div_score"] > kl_max:
        return f"KL > {kl_max:g}"
    if induce_min is not None and row["steering_score"] < induce_min:
        return f"induce < {induce_min:g}"
    return None
