"""A text, token by token, each on a ground whose colour is its value."""

from collections.abc import Sequence
from math import isfinite

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

_SCALE = "Blues"
_COLUMNS = 72  # characters in a line
_LINES = 4  # at least, so that a short text is not drawn large
_DARK = 0.55  # of the scale; from there on, letters are white


def tokens_figure(texts: Sequence[str], values: Sequence[float], hovers: Sequence[str], title: str) -> go.Figure:
    """Tokens as they are read, a colour bar for `values`, which start at 0, and `hovers` under the pointer."""
    places = _laid_out(texts)
    known = [value if isfinite(value) else 0.0 for value in values]
    top = max([*known, 1e-9])
    shares = [min(max(value / top, 0.0), 1.0) for value in known]
    figure = go.Figure()
    for (line, start, width), share in zip(places, shares, strict=True):
        ground = sample_colorscale(_SCALE, share)[0]
        figure.add_shape(
            type="rect", x0=start, x1=start + width, y0=line - 0.42, y1=line + 0.42, fillcolor=ground, layer="below",
            line={"color": "white", "width": 1},
        )  # fmt: skip
    figure.add_scatter(
        x=[start + width / 2 for _, start, width in places], y=[line for line, _, _ in places], mode="text",
        text=[_shown(text) for text in texts], hovertext=list(hovers), hoverinfo="text", showlegend=False,
        textfont={"family": "monospace", "size": 13, "color": ["white" if s > _DARK else "#222" for s in shares]},
    )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False,
        marker={"colorscale": _SCALE, "cmin": 0, "cmax": top, "color": [0], "showscale": True,
                "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 14}},
    )  # fmt: skip
    lines = max(_LINES, 1 + max((line for line, _, _ in places), default=0))
    figure.update_xaxes(visible=False, range=[-0.5, _COLUMNS + 0.5])
    figure.update_yaxes(visible=False, range=[lines - 0.4, -0.6])
    figure.update_layout(
        template="plotly_white", height=110 + 26 * lines, width=860, font={"size": 14},
        margin={"l": 16, "r": 16, "t": 24, "b": 16},
    )  # fmt: skip
    return figure


def _laid_out(texts: Sequence[str]) -> list[tuple[int, int, int]]:
    """Line, first column and width of every token; a token that holds a line break ends its line."""
    found, line, column = [], 0, 0
    for text in texts:
        width = max(1, len(_plain(text)))
        if column and column + width > _COLUMNS:
            line, column = line + 1, 0
        found.append((line, column, width))
        column += width
        if "\n" in text:
            line, column = line + text.count("\n"), 0
    return found


def _plain(text: str) -> str:
    return "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in text)


def _shown(text: str) -> str:
    """The token as text: plotly reads a little HTML, which model text must not write."""
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
