"""The geometry of two classes: measures by layer, and planes that a slider moves through."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float64
from plotly.subplots import make_subplots

from workbench.plots.bands import Line, draw_band, least_n
from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_COLUMNS = 2
_WRAP = 60  # characters of a prompt in a line of the hover text
_MOST = 240
_TOKEN = 18  # characters of a token
_PACE = 150  # milliseconds of a layer, where the slider moves by itself


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
    line = Line(f"{name} (n={least_n(points)}), 95 %", colour, dash, 4, named, name)
    draw_band(figure, points, line, place=place)


def tokens_figure(named: Mapping[str, Sequence[tuple[str, float]]], random: Mapping[str, Score]) -> go.Figure:
    """A panel for each list: the tokens' cosines; grey is what 95 % of random directions reach at most."""
    n_rows = -(-len(named) // _COLUMNS)
    figure = make_subplots(rows=n_rows, cols=_COLUMNS, subplot_titles=list(named), horizontal_spacing=0.24)
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
    layers: Sequence[int],
    positive: Bool[np.ndarray, " example"],
    texts: Sequence[str],
    *,
    method: str,
    faith: Sequence[float],
    held: Sequence[float] | None = None,
    sides: tuple[str, str] = ("positive", "negative"),
    opens: int | None = None,
) -> go.Figure:
    """A frame for each layer, each at a scale of its own, for the stream grows from layer to layer.

    `held` is the share of the variance in each plane, which its axes divide; `opens` is the layer that is shown first.
    A point's `customdata` is the number of its prompt.
    """
    frames = []
    for number, layer in enumerate(layers):
        share = None if held is None else held[number]
        title = f"{method}, layer {layer}: trustworthiness {faith[number]:.2f}"
        moved = [{"type": "scatter", "x": x, "y": y} for x, y in _places(points[number], positive)]  # and nothing else
        frames.append(go.Frame(name=str(layer), data=moved, layout=_framed(points[number], title, share)))
    first = list(layers).index(opens) if opens is not None and opens in layers else 0
    figure = go.Figure(data=_traces(points[first], positive, [_wrapped(text) for text in texts], sides), frames=frames)
    styled(figure, "", "")
    figure.update_layout(frames[first].layout)
    # Margins that grow by themselves would lay the figure out twice at every step of the slider.
    margin = {"t": 96, "b": 148, "l": 72, "r": 24, "autoexpand": False}
    return figure.update_layout(height=700, margin=margin, **_moving(layers, first))


def _framed(plane: Float64[np.ndarray, "example 2"], title: str, held: float | None) -> dict[str, object]:
    """The layout of one layer: its title, what its axes hold, and their ends."""
    reach = 1.08 * float(np.abs(plane).max())
    parts = plane.var(axis=0) / plane.var(axis=0).sum()
    said = ["" if held is None else f", {100 * held * part:.0f} % of the variance" for part in parts]
    x, y = ({"range": [-reach, reach], "title": {"text": f"aligned axis {k + 1}{said[k]}"}} for k in range(2))
    return {"title": {"text": title, "y": 0.97}, "xaxis": x, "yaxis": y}


def _moving(layers: Sequence[int], first: int) -> dict[str, object]:
    """A slider through the layers, and buttons that move it: the browser does both by itself."""
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": str(layer), "method": "animate", "args": [[str(layer)], still]} for layer in layers]
    going = still | {"fromcurrent": True, "frame": {"duration": _PACE, "redraw": True}}
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, going]},
        {"label": "Pause", "method": "animate", "args": [[None], still]},
    ]
    place = {"x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom", "pad": {"b": 4}}
    return {
        "sliders": [{"active": first, "currentvalue": {"prefix": "layer "}, "steps": steps, "pad": {"t": 56}}],
        "updatemenus": [{"type": "buttons", "direction": "left", "showactive": False, "buttons": buttons} | place],
    }  # fmt: skip


def _places(plane: np.ndarray, positive: np.ndarray) -> list[tuple[list[float], list[float]]]:
    """Where the points of either side lie."""
    return [(plane[rows, 0].tolist(), plane[rows, 1].tolist()) for rows in (positive, ~positive)]


def _traces(plane: np.ndarray, positive: np.ndarray, hover: Sequence[str], names: tuple[str, str]) -> list[go.Scatter]:
    edge = {"color": MUTED, "width": 0.5}
    looks = ((names[0], COLOURS[1], "circle"), (names[1], COLOURS[0], "diamond"))
    numbers = [np.flatnonzero(rows).tolist() for rows in (positive, ~positive)]
    return [
        go.Scatter(
            name=f"{name} (n={len(rows)})", x=x, y=y, mode="markers", hoverinfo="text", customdata=rows,
            marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.85, "line": edge},
            text=[hover[row] for row in rows],
        )
        for (name, colour, symbol), rows, (x, y) in zip(looks, numbers, _places(plane, positive), strict=True)
    ]  # fmt: skip


def _wrapped(text: str) -> str:
    """A prompt as hover text: what Plotly would read as markup is made plain."""
    from textwrap import shorten, wrap

    return "<br>".join(escape(line) for line in wrap(shorten(text, _MOST, placeholder=" …"), _WRAP))
