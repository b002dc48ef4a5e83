"""Candidates as points: what is gained against what it costs, with the front that nothing beats on both."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled


def tradeoff_figure(
    cost: Sequence[float],
    gain: Sequence[float],
    names: Sequence[str],
    front: Sequence[int],
    chosen: int | None,
    *,
    limit: float | None,
    x: str,
    y: str,
) -> go.Figure:
    """All candidates in grey, the front joined, the chosen one marked; `limit` draws the largest cost allowed."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(cost), y=list(gain), text=list(names), mode="markers", name="candidates",
        marker={"color": MUTED, "size": 7, "opacity": 0.6},
    )  # fmt: skip
    ordered = sorted(front, key=lambda index: cost[index])
    figure.add_scatter(
        x=[cost[i] for i in ordered], y=[gain[i] for i in ordered], text=[names[i] for i in ordered],
        mode="lines+markers", name="front", marker={"color": COLOURS[0], "size": 9}, line={"width": 1.5},
    )  # fmt: skip
    if chosen is not None:
        figure.add_scatter(
            x=[cost[chosen]], y=[gain[chosen]], text=[names[chosen]], mode="markers+text", name="chosen",
            textposition="top right", marker={"color": COLOURS[1], "size": 14, "symbol": "star"},
        )  # fmt: skip
    if limit is not None:
        figure.add_vline(x=limit, line={"dash": "dash", "color": COLOURS[2]}, annotation_text=f"limit {limit:g}")
    return styled(figure, x, y)
