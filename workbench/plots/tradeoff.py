"""Candidates as points: what is gained against what it costs, with the front that nothing beats on both."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled

Bounds = Sequence[tuple[float, float]]


def tradeoff_figure(
    cost: Sequence[float],
    gain: Sequence[float],
    names: Sequence[str],
    front: Sequence[int],
    chosen: int,
    *,
    bounds: tuple[Bounds, Bounds],
    limit: float,
    x: str,
    y: str,
) -> go.Figure:
    """All candidates in grey, the front joined with its intervals, the chosen one marked.

    `bounds` holds (low, high) of every cost and of every gain; `limit` is the largest cost allowed.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=list(cost), y=list(gain), text=list(names), mode="markers", name="candidates",
        marker={"color": MUTED, "size": 7, "opacity": 0.6},
    )  # fmt: skip
    ordered = sorted(front, key=lambda index: cost[index])
    figure.add_scatter(
        x=[cost[i] for i in ordered], y=[gain[i] for i in ordered], text=[names[i] for i in ordered],
        mode="lines+markers", name="front, 95 % intervals", line={"width": 1.5},
        marker={"color": COLOURS[0], "size": 9},
        error_x=_error(cost, bounds[0], ordered), error_y=_error(gain, bounds[1], ordered),
    )  # fmt: skip
    figure.add_scatter(
        x=[cost[chosen]], y=[gain[chosen]], mode="markers", name=f"chosen: {names[chosen]}",
        marker={"color": COLOURS[1], "size": 14, "symbol": "star"},
    )  # fmt: skip
    figure.add_vline(x=limit, line={"dash": "dash", "color": COLOURS[2]}, annotation_text=f"limit {limit:g}")
    figure.update_xaxes(rangemode="tozero")
    return styled(figure, x, y)


def _error(values: Sequence[float], bounds: Bounds, chosen: Sequence[int]) -> dict[str, Any]:
    above, below = ([abs(bounds[i][side] - values[i]) for i in chosen] for side in (1, 0))
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 0.8, "width": 2, "color": COLOURS[0]}
