"""Numbers over the tokens of replies, a line for each."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.plots.curves import DASHES
from workbench.plots.style import COLOURS, MUTED, styled


def timelines_figure(
    lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, changes: Sequence[int] = ()
) -> go.Figure:
    """One line for each name, told apart by colour, dash and name; `changes` are marked from top to bottom."""
    figure = go.Figure()
    for index, (name, points) in enumerate(lines.items()):
        figure.add_scatter(
            x=[place for place, _ in points], y=[value for _, value in points], name=name, mode="lines+markers",
            line={"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 2},
            marker={"size": 4},
        )  # fmt: skip
    for place in changes:
        figure.add_vline(x=place - 0.5, line={"color": MUTED, "dash": "dot"}, annotation_text="recipe changed")
    return styled(figure, x, y)
