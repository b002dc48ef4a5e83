"""Curves with bands: one series a condition, each point with its interval."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

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
        times = 100 if percent else 1
        xs = [place for place, _ in points]
        highs = [times * (s.value if s.high is None else s.high) for _, s in points]
        lows = [times * (s.value if s.low is None else s.low) for _, s in points]
        figure.add_scatter(
            x=[*xs, *reversed(xs)], y=[*highs, *reversed(lows)], fill="toself", fillcolor=colour, opacity=0.14,
            line={"width": 0}, hoverinfo="skip", showlegend=False, mode="lines",
        )  # fmt: skip
        figure.add_scatter(
            name=f"{name} (n={min(s.n for _, s in points)})", x=xs, y=[times * s.value for _, s in points],
            mode="lines+markers" if marks else "lines", line={"color": colour, "dash": dash, "width": 2},
        )  # fmt: skip
    if limit is not None:
        figure.add_hline(y=limit, line={"color": "#8A8A8A", "dash": "dot"})
    if logarithmic:
        ticks = sorted({place for points in series.values() for place, _ in points})
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    if percent:
        figure.update_yaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100])
    return styled(figure, x, f"{y}, 95 % interval")
