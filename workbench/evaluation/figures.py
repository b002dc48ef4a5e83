"""The figures of an evaluation: refusal by condition and by reply length, KL by position, trade-off, ledger."""

from typing import TYPE_CHECKING

import numpy as np

from workbench.evaluation.comparison import BASELINE, TREATED, Evaluation
from workbench.evaluation.metrics import Observed
from workbench.statistics import Score, mean_score

if TYPE_CHECKING:
    from workbench.plots import Figure

_LEAST = 3  # items that a position of the KL curve must have


def figures(evaluation: Evaluation) -> "dict[str, Figure]":
    """Every figure that the evaluation has the numbers for, by title."""
    makers = {
        "Refusals by condition": evaluation.plot,
        "Refusal against reply length": lambda: by_length(evaluation),
        "KL by position": lambda: by_position(evaluation),
        "Trade-off": lambda: trade_off(evaluation),
        "Side effects": lambda: ledger(evaluation),
    }
    made = {title: make() for title, make in makers.items()}
    return {title: figure for title, figure in made.items() if figure is not None}


def by_length(evaluation: Evaluation) -> "Figure | None":
    """Refusal of harmful requests, were every reply cut after so many tokens."""
    from workbench.plots import curves_figure

    series: dict[str, list[tuple[float, Score]]] = {}
    for score in evaluation.scores():
        condition, group, measure = score.name.rsplit("/", 2)
        name, _, tokens = measure.partition("@")
        if (group, name) == ("harmful", "refusal") and tokens:
            series.setdefault(condition, []).append((float(tokens), score))
    if not series:
        return None
    return curves_figure(
        series, "Reply length (tokens)", "Refusal of harmful requests (%)", percent=True, logarithmic=True
    )


def by_position(evaluation: Evaluation) -> "Figure | None":
    """KL from the base model at each position of its own replies."""
    from workbench.plots import curves_figure

    parts = [p for p in evaluation.observed if p.metric == "divergence" and p.condition != BASELINE]
    series = {part.condition: _positions(part) for part in parts}
    if not any(series.values()):
        return None
    return curves_figure(series, "Position in the base's reply (tokens)", "KL(base || edited) (nats)", marks=False)


def _positions(part: Observed) -> list[tuple[float, Score]]:
    rows = [item.series["kl"] for item in part.items if "kl" in item.series]
    longest = max(map(len, rows), default=0)
    columns = [[row[place] for row in rows if place < len(row)] for place in range(longest)]
    return [
        (place + 1.0, mean_score(f"{part.condition}/kl@{place + 1}", column, "lower"))
        for place, column in enumerate(columns)
        if len(column) >= _LEAST
    ]


def trade_off(evaluation: Evaluation) -> "Figure | None":
    """Coherent compliance with harmful requests against the divergence on harmless ones."""
    from workbench.plots import points_figure

    names = {score.name for score in evaluation.scores()}
    metric, measure = ("divergence", "kl") if "baseline/divergence/kl" in names else ("first-token", "first_token_kl")
    wanted = {c: (f"{c}/{metric}/{measure}", f"{c}/harmful/compliance") for c in evaluation.conditions}
    if not all(name in names for pair in wanted.values() for name in pair):
        return None
    points = {c: (evaluation.score(c, metric, measure), evaluation.score(c, "harmful", "compliance")) for c in wanted}
    return points_figure(points, f"{measure}, harmless (nats)", "Coherent compliance, harmful (%)")


def ledger(evaluation: Evaluation) -> "Figure | None":
    """Each measure's change under the treated condition, in standard deviations of the baseline's items."""
    from workbench.plots import forest_figure

    rows = []
    for part in evaluation.parts:
        if part.condition != BASELINE:
            continue
        for measure in evaluation.measures_of(part.metric):
            change = evaluation.difference(TREATED, part.metric, measure.name)
            spread = _spread([item.values.get(measure.name) for item in part.items], change is not None)
            if change is None or "@" in measure.name:
                continue
            ends = {k: None if (v := getattr(change, k)) is None else v / spread for k in ("value", "low", "high")}
            rows.append((f"{part.metric}: {measure.name}", change.model_copy(update=ends)))
    return forest_figure(rows, "Change, in standard deviations of the baseline (1 where it has none)") if rows else None


def _spread(values: list[float | None], wanted: bool) -> float:
    known = [value for value in values if value is not None]
    return float(np.std(known)) or 1.0 if wanted and len(known) > 1 else 1.0
