"""Candidate directions where they were found: a map of layers and positions for each score, and their cosines.

A cell is a mark, so that it can be clicked. Measured values are outlined squares, estimates small circles: the two are
told apart without colour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float64
from plotly.subplots import make_subplots

from workbench.plots.patching import DIVERGING
from workbench.plots.style import COLOURS, MUTED, styled

Place = tuple[int | None, int]  # position and layer
Scale = Literal["diverging", "logarithmic", "share"]

_LEAST = 1e-4  # of what is drawn by its logarithm
_ROW = 22  # pixels of a layer
_DARK = "#222222"


@dataclass(frozen=True)
class Cell:
    """A value at a place, whether it was measured or guessed, and what is said of it."""

    place: Place
    value: float
    measured: bool
    says: str


@dataclass(frozen=True)
class Marked:
    """The places that stand out, and the first layer that the rule of choice calls too late."""

    front: Sequence[Place] = ()
    chosen: Place | None = None
    picked: Place | None = None
    too_late: int | None = None


def atlas_figure(panels: Mapping[str, tuple[Scale, Sequence[Cell]]], marked: Marked) -> go.Figure:
    """A panel for each score, by name; each has a colour scale of its own. Every mark carries its place's name."""
    places = [cell.place for _, cells in panels.values() for cell in cells]
    positions = sorted({position for position, _ in places}, key=lambda each: (each is not None, each))
    layers = [layer for _, layer in places]
    figure = make_subplots(cols=len(panels), shared_yaxes=True, horizontal_spacing=0.025, subplot_titles=list(panels))
    for column, (scale, cells) in enumerate(panels.values(), start=1):
        _cells(figure, cells, scale, positions, column)
        _marks(figure, {cell.place for cell in cells}, marked, positions, column)
        _colours(figure, scale, [cell.value for cell in cells], column)
    _legend(figure, marked)
    styled(figure, "", "layer (block input)")
    figure.update_xaxes(
        title="token position", tickvals=list(range(len(positions))), ticktext=[_name(each) for each in positions],
        range=[-0.6, len(positions) - 0.4], showgrid=False, zeroline=False,
    )  # fmt: skip
    figure.update_yaxes(range=[min(layers) - 0.7, max(layers) + 0.7], showgrid=False, zeroline=False, dtick=2)
    figure.update_annotations(font_size=12)
    height = max(420, 300 + _ROW * (max(layers) - min(layers) + 1))
    above = {"yref": "container", "y": 1.0, "yanchor": "top", "font": {"size": 12}}
    return figure.update_layout(height=height, legend=above, margin={"b": 120, "t": 140})


def cosines_figure(names: Sequence[str], cosines: Float64[np.ndarray, "n n"], random: float) -> go.Figure:
    """Directions against directions, with the numbers; between -`random` and `random` stand 95 % of random ones."""
    figure = go.Figure()
    places, labels = list(range(len(names))), [_plain(name) for name in names]
    figure.add_heatmap(
        z=cosines, x=places, y=places, text=np.round(cosines, 2), texttemplate="%{text:.2f}",
        colorscale=DIVERGING, zmin=-1, zmax=1, customdata=[[[one, other] for other in labels] for one in labels],
        hovertemplate="%{customdata[0]} and %{customdata[1]}: %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": f"cosine<br>(random:<br>within {random:.2f})"}, "tickvals": [-1, -0.5, 0, 0.5, 1]},
    )  # fmt: skip
    styled(figure, "", "")
    figure.update_xaxes(tickvals=places, ticktext=labels, tickangle=-30, showgrid=False)
    figure.update_yaxes(tickvals=places, ticktext=labels, autorange="reversed", showgrid=False)
    return figure.update_layout(height=max(300, 170 + 40 * len(names)))


def name_of(place: Place) -> str:
    """A place in words."""
    position, layer = place
    return f"mean over tokens, layer {layer}" if position is None else f"position {position}, layer {layer}"


def _cells(
    figure: go.Figure, cells: Sequence[Cell], scale: Scale, positions: Sequence[int | None], column: int
) -> None:
    for measured in (False, True):
        mine = [cell for cell in cells if cell.measured is measured]
        figure.add_scatter(
            x=[positions.index(cell.place[0]) for cell in mine], y=[cell.place[1] for cell in mine], mode="markers",
            name="measured" if measured else "estimated", showlegend=False, row=1, col=column,
            customdata=[name_of(cell.place) for cell in mine], text=[cell.says for cell in mine],
            hovertemplate="%{customdata}<br>%{text}<extra></extra>",
            marker=_shape(measured) | {
                "color": [_shade(cell.value, scale) for cell in mine], "coloraxis": _axis(column),
            },
        )  # fmt: skip


def _shape(measured: bool) -> dict[str, Any]:
    if measured:
        return {"symbol": "square", "size": 15, "line": {"width": 2, "color": _DARK}}
    return {"symbol": "circle", "size": 12, "line": {"width": 0.5, "color": MUTED}}


def _marks(figure: go.Figure, there: set[Place], marked: Marked, positions: Sequence[int | None], column: int) -> None:
    one = [[place] if place is not None else [] for place in (marked.chosen, marked.picked)]
    for places, style in zip((marked.front, *one), _MARKS.values(), strict=True):
        kept = [place for place in places if place in there]
        figure.add_scatter(
            x=[positions.index(position) for position, _ in kept], y=[layer for _, layer in kept], mode="markers",
            marker=style, hoverinfo="skip", showlegend=False, cliponaxis=False, row=1, col=column,
            customdata=[name_of(place) for place in kept],
        )  # fmt: skip
    if marked.too_late is not None:
        figure.add_hline(y=marked.too_late - 0.5, line={"color": MUTED, "dash": "dash", "width": 1.5}, col=column)


_MARKS: dict[str, dict[str, Any]] = {
    "front": {"symbol": "diamond", "size": 8, "color": COLOURS[2], "line": {"width": 1, "color": "#FFFFFF"}},
    "chosen": {"symbol": "star", "size": 13, "color": COLOURS[4], "line": {"width": 1, "color": _DARK}},
    "selected": {"symbol": "circle-open", "size": 24, "color": COLOURS[3], "line": {"width": 3}},
}


def _legend(figure: go.Figure, marked: Marked) -> None:
    """What the marks mean, in grey, for every panel has colours of its own."""
    shapes = {"measured": _shape(True), "estimated": _shape(False)}
    styles = {name: {"color": MUTED} | shape for name, shape in shapes.items()} | _MARKS
    for name, style in styles.items():
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=name, hoverinfo="skip", marker=style | {"size": 11}, row=1, col=1
        )
    if marked.too_late is not None:
        line = {"color": MUTED, "dash": "dash", "width": 1.5}
        figure.add_scatter(x=[None], y=[None], mode="lines", name="above: too late for the rule", line=line)


def _colours(figure: go.Figure, scale: Scale, values: Sequence[float], column: int) -> None:
    low, high = figure.get_subplot(1, column).xaxis.domain
    bar: dict[str, Any] = {
        "orientation": "h", "thickness": 10, "x": (low + high) / 2, "len": 0.86 * (high - low), "xanchor": "center",
        "xpad": 0, "y": 0, "yref": "container", "yanchor": "bottom", "tickangle": 0, "tickfont": {"size": 11},
    }  # fmt: skip
    shades = [_shade(value, scale) for value in values]
    if scale == "diverging":
        most = max([abs(value) for value in values], default=0.0) or 1.0
        axis: dict[str, Any] = {"colorscale": DIVERGING, "cmin": -most, "cmax": most}
    elif scale == "logarithmic":
        low, high = floor(min(shades, default=0.0)), -floor(-max(shades, default=1.0))
        ticks = list(range(low, max(high, low + 1) + 1))
        ends = ticks[:: len(ticks) - 1]
        bar |= {"tickvals": ends, "ticktext": [f"{10.0**tick:g}" for tick in ends]}
        axis = {"colorscale": "Cividis", "cmin": ticks[0], "cmax": ticks[-1]}
    else:
        least = min(0.98, floor(50 * min(values, default=0.5)) / 50)
        bar |= {"tickvals": [least, 1.0]}
        axis = {"colorscale": "Cividis", "cmin": least, "cmax": 1.0}
    figure.update_layout({_axis(column): axis | {"colorbar": bar}})


def _shade(value: float, scale: Scale) -> float:
    return log10(max(value, _LEAST)) if scale == "logarithmic" else value


def _axis(column: int) -> str:
    return "coloraxis" if column == 1 else f"coloraxis{column}"


def _name(position: int | None) -> str:
    return "mean" if position is None else str(position)


def _plain(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")
