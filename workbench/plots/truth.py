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
    read: Float64[np.ndarray, " n"], said: Float64[np.ndarray, " n"], true: Bool[np.ndarray, " n"]
) -> go.Figure:
    """A dot for each statement; above and right of the middle lines it is called true."""
    figure = go.Figure()
    for name, rows, colour, symbol in (("false", ~true, COLOURS[1], "x"), ("true", true, COLOURS[0], "circle-open")):
        figure.add_scatter(
            name=f"{name} (n={int(rows.sum())})", x=read[rows], y=said[rows], mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.65},
        )  # fmt: skip
    figure.add_vline(x=0.5, line={"color": MUTED, "dash": "dot"})
    figure.add_hline(y=0.5, line={"color": MUTED, "dash": "dot"})
    return styled(figure, "read along the direction (class gaps; false 0, true 1)", "self-report (class gaps)")
