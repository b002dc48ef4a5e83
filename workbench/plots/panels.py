"""Several measures of the same conditions along one axis, a panel each, below one another."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.bands import Line, Points, draw_band, least_n
from workbench.plots.style import COLOURS, MUTED, styled


def panels_figure(panels: Mapping[str, Mapping[str, Points]], x: str) -> go.Figure:
    """A panel for each measure, by what its axis says; in it a line for each condition, grey where it is random."""
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    styled(figure, "", "")
    for row, (title, series) in enumerate(panels.items(), start=1):
        for number, (name, points) in enumerate(series.items()):
            random = "random" in name
            colour, dash = (MUTED, "dash") if random else (COLOURS[number % len(COLOURS)], "solid")
            line = Line(f"{name}, 95 %", colour, dash, named=row == 1)
            draw_band(figure, points, line, place={"row": row, "col": 1})
        n = min(map(least_n, series.values()), default=0)
        figure.update_yaxes(title={"text": f"{title}<br>n={n}", "font": {"size": 12}}, row=row, col=1)
    figure.update_xaxes(title=x, row=len(panels))
    return figure.update_layout(height=110 + 210 * len(panels), legend={"y": 1.06}, margin={"l": 110})
