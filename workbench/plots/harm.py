"""Where harm is read and where refusal is: leanings by layer at two positions, and the cosine of two directions."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.bands import Line, draw_band
from workbench.plots.curves import DASHES
from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score


def leanings_figure(series: Mapping[str, Mapping[str, Sequence[Score]]], cosines: Sequence[float]) -> go.Figure:
    """A panel for each position, with a line and a band a group; below them the cosine of the two directions."""
    figure = make_subplots(
        rows=2, cols=2, row_heights=[0.7, 0.3], specs=[[{}, {}], [{"colspan": 2}, None]], shared_yaxes=True,
        subplot_titles=[*series, "cosine of the two directions"], vertical_spacing=0.16, horizontal_spacing=0.06,
    )  # fmt: skip
    layers = list(range(len(cosines)))
    for column, groups in enumerate(series.values(), start=1):
        for index, (name, scores) in enumerate(groups.items()):
            colour = COLOURS[index % len(COLOURS)]
            line = Line(f"{name} (n={scores[0].n})", colour, DASHES[index % len(DASHES)], 0, column == 1)
            points = list(zip(layers, scores, strict=True))
            draw_band(figure, points, line, place={"row": 1, "col": column})
        figure.add_hline(y=0, line={"color": MUTED, "dash": "dot"}, row=1, col=column)
    figure.add_scatter(
        x=layers, y=list(cosines), mode="lines+markers", line={"color": MUTED, "width": 2}, showlegend=False, row=2,
        col=1,
    )  # fmt: skip
    styled(figure, "", "leaning to the harmful side, 95 % interval")
    figure.update_xaxes(title="layer", row=2, col=1)
    figure.update_yaxes(title="cosine", range=[-0.5, 1.05], row=2, col=1)
    figure.update_layout(height=640, legend={"y": 1.1})
    return figure
