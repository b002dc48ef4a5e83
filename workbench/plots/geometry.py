"""The geometry of two classes: measures by layer, and planes that a slider moves through."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float64
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_COLUMNS = 2
_WRAP = 60  # characters of a prompt in a line of the hover text
_MOST = 240
_TOKEN = 18  # characters of a token


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


def tokens_figure(named: Mapping[str, Sequence[tuple[str, float]]], random: Mapping[str, Score]) -> go.Figure:
    """A panel for each list: the tokens' cosines; grey is what 95 % of random directions reach at most."""
    figure = make_subplots(rows=-(-len(named) // _COLUMNS), cols=_COLUMNS, subplot_titles=list(named))
    for number, (name, tokens) in enumerate(named.items()):
        row, column = (part + 1 for part in divmod(number, _COLUMNS))
        place, rows = {"row": row, "col": column}, list(range(len(tokens)))
        labels = [escape(repr(token)[:_TOKEN]) for token, _ in tokens]
        figure.add_bar(
            x=[value for _, value in tokens], y=rows, orientation="h", marker={"color": COLOURS[0]}, showlegend=False,
            customdata=labels, hovertemplate="%{customdata}: %{x:.3f}<extra></extra>", **place,
        )  # fmt: skip
        figure.update_yaxes(tickvals=rows, ticktext=labels, autorange="reversed", **place)
        low, high = random[name].low, random[name].high
        figure.add_vrect(x0=low, x1=high, fillcolor=MUTED, opacity=0.35, line_width=0, **place)
    n = next(iter(random.values())).n
    figure.add_bar(x=[None], y=[None], marker={"color": MUTED}, name=f"extreme of random directions (n={n}), 95 %")
    styled(figure, "", "")
    figure.update_xaxes(title="cosine")
    figure.update_layout(height=640, showlegend=True, legend={"y": 1.1})
    return figure


def planes_figure(
    points: Float64[np.ndarray, "layer example 2"],
    titles: Sequence[str],
    layers: Sequence[int],
    positive: Bool[np.ndarray, " example"],
    texts: Sequence[str],
) -> go.Figure:
    """A frame for each layer, each at a scale of its own, for the stream grows from layer to layer."""
    hover = [_wrapped(text) for text in texts]
    frames = []
    for number, layer in enumerate(layers):
        reach = 1.08 * float(np.abs(points[number]).max())
        layout = {
            "title": {"text": titles[number], "y": 0.97},
            "xaxis": {"range": [-reach, reach]}, "yaxis": {"range": [-reach, reach]},
        }  # fmt: skip
        frames.append(go.Frame(name=str(layer), data=_traces(points[number], positive, hover), layout=layout))
    figure = go.Figure(data=frames[0].data, frames=frames)
    styled(figure, "aligned axis 1", "aligned axis 2")
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
    from textwrap import shorten, wrap

    return "<br>".join(escape(line) for line in wrap(shorten(text, _MOST, placeholder=" …"), _WRAP))
