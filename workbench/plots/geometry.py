"""The geometry of two classes: measures by layer, and planes that a slider moves through."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float64
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_COLUMNS = 2
_WRAP = 60  # characters of a prompt in a line of the hover text
_MOST = 240


def geometry_figure(
    layers: Sequence[int],
    lines: Mapping[str, Sequence[Score | None]],
    controls: Mapping[str, Sequence[Score]],
) -> go.Figure:
    """A panel for each measure, with its interval; where labels were shuffled, their mean and 95 % of them dotted."""
    rows = -(-len(lines) // _COLUMNS)
    figure = make_subplots(rows=rows, cols=_COLUMNS, subplot_titles=list(lines), vertical_spacing=0.35 / rows)
    for number, (name, scores) in enumerate(lines.items()):
        row, column = divmod(number, _COLUMNS)
        place = {"row": row + 1, "col": column + 1}
        known = [(layer, score) for layer, score in zip(layers, scores, strict=True) if score is not None]
        _line(figure, known, ("measured", COLOURS[0], "solid"), number == 0, place)
        if name in controls:
            first = name == next(iter(controls))
            _line(
                figure, list(zip(layers, controls[name], strict=True)), ("shuffled labels", MUTED, "dot"), first, place
            )
    styled(figure, "", "")
    for column in range(1, _COLUMNS + 1):
        figure.update_xaxes(title="layer", row=rows, col=column)
    figure.update_layout(height=230 * rows, legend={"y": 1.06})
    return figure


def _line(
    figure: go.Figure,
    points: Sequence[tuple[int, Score]],
    style: tuple[str, str, str],
    named: bool,
    place: Mapping[str, int],
) -> None:
    name, colour, dash = style
    xs = [x for x, _ in points]
    highs = [s.value if s.high is None else s.high for _, s in points]
    lows = [s.value if s.low is None else s.low for _, s in points]
    figure.add_scatter(
        x=[*xs, *reversed(xs)], y=[*highs, *reversed(lows)], fill="toself", fillcolor=colour, opacity=0.18,
        line={"width": 0}, hoverinfo="skip", mode="lines", showlegend=False, **place,
    )  # fmt: skip
    n = min((s.n for _, s in points), default=0)
    figure.add_scatter(
        name=f"{name} (n={n}), 95 %", x=xs, y=[s.value for _, s in points], mode="lines+markers", legendgroup=name,
        line={"color": colour, "dash": dash, "width": 2}, marker={"size": 4}, showlegend=named, **place,
    )  # fmt: skip


def planes_figure(
    points: Float64[np.ndarray, "layer example 2"],
    explained: Float64[np.ndarray, "layer 2"],
    layers: Sequence[int],
    positive: Bool[np.ndarray, " example"],
    texts: Sequence[str],
) -> go.Figure:
    """A frame for each layer, each at a scale of its own, for the stream grows from layer to layer."""
    hover = [_wrapped(text) for text in texts]
    frames = []
    for number, layer in enumerate(layers):
        share = 100 * explained[number].sum()
        reach = 1.08 * float(np.abs(points[number]).max())
        layout = {
            "title": {"text": f"layer {layer}: the plane holds {share:.0f} % of the variance", "y": 0.97},
            "xaxis": {"range": [-reach, reach]}, "yaxis": {"range": [-reach, reach]},
        }  # fmt: skip
        frames.append(go.Frame(name=str(layer), data=_traces(points[number], positive, hover), layout=layout))
    figure = go.Figure(data=frames[0].data, frames=frames)
    styled(figure, "aligned component 1", "aligned component 2")
    figure.update_layout(frames[0].layout)
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": str(layer), "method": "animate", "args": [[str(layer)], still]} for layer in layers]
    figure.update_layout(
        height=640, margin={"t": 96}, sliders=[{"currentvalue": {"prefix": "layer "}, "pad": {"t": 48}, "steps": steps}]
    )
    return figure


def _traces(plane: np.ndarray, positive: np.ndarray, hover: Sequence[str]) -> list[go.Scatter]:
    sides = (("positive", positive, COLOURS[1], "circle"), ("negative", ~positive, COLOURS[0], "diamond"))
    return [
        go.Scatter(
            name=f"{name} (n={int(rows.sum())})", x=plane[rows, 0].tolist(), y=plane[rows, 1].tolist(), mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75},
            text=[hover[row] for row in np.flatnonzero(rows).tolist()], hoverinfo="text",
        )
        for name, rows, colour, symbol in sides
    ]  # fmt: skip


def _wrapped(text: str) -> str:
    """A prompt as hover text: what Plotly would read as markup is made plain."""
    from html import escape
    from textwrap import shorten, wrap

    return "<br>".join(escape(line) for line in wrap(shorten(text, _MOST, placeholder=" …"), _WRAP))
