"""One look for every figure: Okabe and Ito's colour-blind-safe palette, readable when small."""

import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MUTED = "#8A8A8A"


def styled(figure: go.Figure, x: str, y: str) -> go.Figure:
    """Axis titles, white ground, a legend above the plot."""
    figure.update_layout(
        template="plotly_white",
        font={"size": 14},
        margin={"l": 64, "r": 24, "t": 56, "b": 56},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        xaxis_title=x,
        yaxis_title=y,
    )
    return figure
