"""Where a probe reads what it reads: a map of layers and positions for each stream."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, styled

_EMPTY = "—"


def auroc_map(rows: Sequence[Mapping[str, Any]], best: tuple[object, int | None]) -> go.Figure:
    """A panel for each stream: colour is the held-out AUROC, a ring marks the best place.

    The scale begins at the least AUROC there is, or at 0.5 where that is chance: else all high ones would look alike.
    """
    streams = list(dict.fromkeys(row["stream"] for row in rows))
    figure = make_subplots(rows=1, cols=len(streams), subplot_titles=streams, shared_yaxes=True)
    for column, stream in enumerate(streams, start=1):
        mine = [row for row in rows if row["stream"] == stream]
        layers = sorted({row["layer"] for row in mine})
        positions = list(dict.fromkeys(_name(row["position"]) for row in mine))
        values = np.full((len(layers), len(positions)), np.nan)
        hover = np.full(values.shape, _EMPTY, dtype=object)
        for row in mine:
            cell = layers.index(row["layer"]), positions.index(_name(row["position"]))
            values[cell], hover[cell] = row["auroc"], _hover(row)
            if (row["site"], row["position"]) == (str(best[0]), best[1]):
                ring = {"symbol": "circle-open", "size": 15, "color": COLOURS[1], "line": {"width": 3}}
                figure.add_scatter(
                    x=[positions[cell[1]]], y=[row["layer"]], mode="markers", marker=ring, hoverinfo="skip",
                    name="best on the folds", row=1, col=column,
                )  # fmt: skip
        figure.add_heatmap(
            x=positions, y=layers, z=values, text=hover, hoverinfo="text", coloraxis="coloraxis", row=1, col=column
        )
        figure.update_xaxes(title="position", type="category", row=1, col=column)
    figure.data = sorted(figure.data, key=lambda trace: trace.type == "scatter")  # the ring above the map
    styled(figure, "position", "layer")
    bar = {"title": f"AUROC<br>(n={min(row['n'] for row in rows)})"}
    least = max(0.5, min(0.98, floor(50 * min(row["auroc"] for row in rows)) / 50))
    figure.update_layout(coloraxis={"cmin": least, "cmax": 1.0, "colorscale": "Cividis", "colorbar": bar}, height=560)
    return figure


def _name(position: int | None) -> str:
    return "mean" if position is None else str(position)


def _hover(row: Mapping[str, Any]) -> str:
    ends = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return (
        f"{row['site']}, position {_name(row['position'])}<br>AUROC {row['auroc']:.3f}{ends}, n={row['n']}<br>"
        f"shuffled labels {row['shuffled']:.3f}"
    )
