"""Conditions as points: what they cost against what they do."""

from collections.abc import Mapping

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, styled
from workbench.statistics import Score

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


def points_figure(points: Mapping[str, tuple[Score, Score]], x: str, y: str) -> go.Figure:
    """A point for each condition at (x score, y score in per cent), with the intervals of both."""
    figure = go.Figure()
    for index, (name, (across, up)) in enumerate(points.items()):
        figure.add_scatter(
            name=name, x=[across.value], y=[100 * up.value], mode="markers",
            marker={"color": COLOURS[index % len(COLOURS)], "size": 12, "symbol": _SYMBOLS[index % len(_SYMBOLS)]},
            error_x=_bars(across, 1), error_y=_bars(up, 100),
        )  # fmt: skip
    figure.update_yaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100])
    return styled(figure, f"{x}, 95 % interval", f"{y}, 95 % interval")


def _bars(score: Score, times: int) -> dict[str, object]:
    high, low = (score.value if end is None else end for end in (score.high, score.low))
    return {
        "type": "data", "thickness": 1.2, "width": 3,
        "array": [times * (high - score.value)], "arrayminus": [times * (score.value - low)],
    }  # fmt: skip
