"""One text under a microscope: coordinates by layer and token, and what comes next under each recipe."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.plots.lenses import marked_up, short_word, token_grid, write_cells
from workbench.plots.style import COLOURS, MUTED, styled

_REACH = 98  # per cent of the cells whose sizes the colours tell apart: the first token's is massive
_NUMBERED = 18  # tokens, up to which there is room for numbers in the cells
_DARK = 0.6
_SCALE = ((0.0, COLOURS[0]), (0.5, "#FFFFFF"), (1.0, COLOURS[1]))


def coordinates_map(
    values: Float[np.ndarray, "site token"],
    tokens: Sequence[str],
    depths: Sequence[int],
    title: str,
    *,
    own: int | None = None,
    token: int | None = None,
) -> go.Figure:
    """Values from blue through white at 0 to orange; `own` is the depth of the direction, `token` the chosen column.

    The scale ends at the size that 98 % of the cells have at most; what is beyond has the last colour.
    """
    most = float(np.percentile(np.abs(values), _REACH)) or 1.0
    hovers = [
        [f"{text!r}, {depth} blocks passed\n{value:+.3f}" for text, value in zip(tokens, line, strict=True)]
        for depth, line in zip(depths, values, strict=True)
    ]
    figure = token_grid(values, tokens, depths, [[marked_up(text) for text in line] for line in hovers])
    if len(tokens) <= _NUMBERED:
        # Adding 0 makes a zero of -0.0.
        words = [[f"{round(float(value), 1) + 0.0:.1f}" for value in line] for line in values]
        write_cells(figure, words, np.abs(values) > _DARK * most)
    if own in depths:
        _outlined(figure, -0.5, len(tokens) - 0.5, depths.index(own) - 0.5, depths.index(own) + 0.5)
    if token is not None:
        _outlined(figure, token - 0.5, token + 0.5, -0.5, len(depths) - 0.5)
    axis = {"colorscale": _SCALE, "cmin": -most, "cmax": most, "colorbar": {"title": {"text": title}}}
    return bar_above(figure.update_layout(coloraxis=axis))


def bar_above(figure: go.Figure) -> go.Figure:
    """The colour bar above the map, so that a narrow page has room for the cells."""
    bar = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left", "len": 0.6, "thickness": 12}
    text = str(figure.layout.coloraxis.colorbar.title.text).replace("<br>", " ")
    figure.update_layout(coloraxis_colorbar=bar | {"title": {"text": text, "side": "top"}})
    return figure.update_layout(margin={"t": 72, "r": 16}, height=figure.layout.height + 48)


def next_tokens_figure(texts: Sequence[str], bars: Mapping[str, Sequence[float]]) -> go.Figure:
    """Probabilities of likely next tokens, a bar for each recipe; the model as it is comes first and is grey."""
    figure, rows = go.Figure(), list(range(len(texts)))
    colours = [MUTED, COLOURS[1]] if len(bars) > 1 else [COLOURS[0]]
    for (name, values), colour in zip(bars.items(), colours, strict=True):
        figure.add_bar(
            name=name, x=[100 * value for value in values], y=rows, orientation="h", marker={"color": colour},
            text=[f"{100 * value:.1f}" for value in values], textposition="outside", cliponaxis=False,
            hovertemplate="%{x:.2f} %<extra></extra>",
        )  # fmt: skip
    styled(figure, "probability as the next token (%)", "")
    labels = [short_word(repr(text)[1:-1], 16) for text in texts]
    figure.update_yaxes(tickvals=rows, ticktext=labels, autorange="reversed", title="next token")
    figure.update_xaxes(range=[0, 108])
    return figure.update_layout(height=150 + 44 * len(texts), barmode="group", legend={"traceorder": "normal"})


def _outlined(figure: go.Figure, x0: float, x1: float, y0: float, y1: float) -> None:
    figure.add_shape(type="rect", x0=x0, x1=x1, y0=y0, y1=y1, line={"color": COLOURS[2], "width": 2})
