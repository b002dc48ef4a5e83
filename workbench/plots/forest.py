"""A forest of differences: one row each, its interval against the line of no change."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Difference

_ROW = 26  # pixels


def forest_figure(rows: Sequence[tuple[str, Difference]], x: str) -> go.Figure:
    """A dot and its 95 % interval for each labelled difference; what is not shown to differ is grey and hollow."""
    figure = go.Figure()
    for shown, name, colour, symbol in (
        (True, "difference shown", COLOURS[1], "circle"),
        (False, "no difference shown", MUTED, "circle-open"),
    ):
        kept = [(label, d) for label, d in rows if (d.says != "no difference shown") is shown]
        if not kept:
            continue
        figure.add_scatter(
            name=f"{name} (Holm)", x=[d.value for _, d in kept], y=[label for label, _ in kept], mode="markers",
            marker={"color": colour, "size": 10, "symbol": symbol},
            error_x={
                "type": "data", "thickness": 1.5, "width": 4, "color": colour,
                "array": [(d.value if d.high is None else d.high) - d.value for _, d in kept],
                "arrayminus": [d.value - (d.value if d.low is None else d.low) for _, d in kept],
            },
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "dash": "dot"})
    # Half a row of room at either end: a dot on the edge of the plot would be cut in two.
    ends = [-0.6, len(rows) - 0.4]
    figure.update_yaxes(categoryorder="array", categoryarray=[label for label, _ in reversed(rows)], range=ends)
    styled(figure, f"{x}, 95 % interval", "")
    return figure.update_layout(height=160 + _ROW * len(rows), margin={"l": 210})
