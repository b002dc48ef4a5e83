"""What a monitor reads, token by token."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.plots.curves import DASHES
from workbench.plots.style import COLOURS, MUTED, styled


def monitor_figure(lines: Sequence[Sequence[float]], labels: Sequence[str], threshold: float) -> go.Figure:
    """A line for each reply, from the token before its first word on, and the threshold above which it is an alarm."""
    figure = go.Figure()
    for index, (line, label) in enumerate(zip(lines, labels, strict=True)):
        figure.add_scatter(
            x=list(range(len(line))), y=list(line), mode="lines+markers", name=_short(label),
            line={"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 2},
            marker={"size": [9 if value > threshold else 4 for value in line]},
        )  # fmt: skip
    figure.add_hline(
        y=threshold, line={"color": MUTED, "dash": "dot"}, annotation_text="alarm", annotation_position="top left"
    )
    return styled(figure, "token of the reply", "coordinate (0 harmless, 1 harmful on average)")


def _short(label: str, most: int = 40) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
