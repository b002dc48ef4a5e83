"""Curves with bands: one series a condition, each point with its interval."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.plots.bands import Line, draw_band, least_n
from workbench.plots.style import COLOURS, styled
from workbench.statistics import Score

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def curves_figure(
    series: Mapping[str, Sequence[tuple[float, Score]]],
    x: str,
    y: str,
    *,
    percent: bool = False,
    logarithmic: bool = False,
    marks: bool = True,
    limit: float | None = None,
) -> go.Figure:
    """A line for each series of (x, score), with a band for its interval, told apart by colour, dash and name.

    `limit` draws a level of y; `logarithmic` is about x, which is then given as it is.
    """
    figure = go.Figure()
    for index, (name, points) in enumerate(series.items()):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        line = Line(f"{name} (n={least_n(points)})", colour, dash, 6 if marks else 0)
        draw_band(figure, points, line, times=100 if percent else 1)
    if limit is not None:
        figure.add_hline(y=limit, line={"color": "#8A8A8A", "dash": "dot"})
    if logarithmic:
        ticks = sorted({place for points in series.values() for place, _ in points})
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    if percent:
        figure.update_yaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100])
    return styled(figure, x, f"{y}, 95 % interval")
