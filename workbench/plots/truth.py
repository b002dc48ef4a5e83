"""Truth: what a direction reads beside what knows nothing of truth, and what is read beside what is said."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float64

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_ROW = 34  # pixels


def scores_figure(scores: Mapping[str, Score], x: str, chance: float) -> go.Figure:
    """A row for each score with its interval, the first one in colour, against the line of chance."""
    figure = go.Figure()
    names = [f"{name} (n={score.n})" for name, score in scores.items()]
    for place, (name, score) in enumerate(zip(names, scores.values(), strict=True)):
        colour = COLOURS[0] if place == 0 else MUTED
        low, high = (score.value if end is None else end for end in (score.low, score.high))
        figure.add_scatter(
            x=[score.value], y=[name], mode="markers+text", showlegend=False, text=[f"{score.value:.2f}"],
            textposition="top center", textfont={"color": "#444444", "size": 12},
            marker={"color": colour, "size": 11, "symbol": "circle" if place == 0 else "circle-open"},
            hovertext=f"{name}: {score.format('.3f')}",
            error_x={
                "type": "data", "thickness": 1.5, "width": 4, "color": colour, "array": [high - score.value],
                "arrayminus": [score.value - low],
            },
        )  # fmt: skip
    figure.add_vline(x=chance, line={"color": MUTED, "dash": "dot"})
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    styled(figure, f"{x}, 95 % interval", "")
    return figure.update_layout(height=130 + _ROW * len(names), margin={"l": 250, "t": 24})


def report_figure(
    read: Float64[np.ndarray, " pair"],
    said: Float64[np.ndarray, " pair"],
    kinds: Mapping[str, Bool[np.ndarray, " pair"]],
) -> go.Figure:
    """A dot for each pair, in one of four corners: known and said, known only, said only, neither."""
    figure = go.Figure()
    for (name, rows), colour, symbol in zip(kinds.items(), COLOURS, ("circle-open", "x"), strict=False):
        figure.add_scatter(
            name=f"“{name}” (n={int(rows.sum())} pairs)", x=read[rows], y=said[rows], mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.7},
        )  # fmt: skip
    right, above = read > 0, said > 0
    for text, rows, x, y in (
        ("known and said", right & above, 1, 1), ("said, not known", ~right & above, 0, 1),
        ("known, not said", right & ~above, 1, 0), ("neither", ~right & ~above, 0, 0),
    ):  # fmt: skip
        figure.add_annotation(
            text=f"{text}: {int(rows.sum())}", x=x, y=y, xref="paper", yref="paper", showarrow=False,
            xanchor="right" if x else "left", yanchor="top" if y else "bottom", bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "dash": "dot"})
    figure.add_hline(y=0, line={"color": MUTED, "dash": "dot"})
    return styled(figure, "true less false twin, read (class gaps)", "true less false twin, log-odds of Yes (nats)")
