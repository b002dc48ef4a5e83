"""Where a difference is carried: maps of places, bars of parts, an attention pattern, and the path through the layers.

One diverging scale for all, blue to white to orange-red, which people with any colour vision tell apart; white is 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

DIVERGING = ((0.0, COLOURS[0]), (0.5, "#FFFFFF"), (1.0, COLOURS[1]))
_SYMBOLS = {"attn_out": ("circle", "attention output"), "mlp_out": ("square", "MLP output")}
Titles = tuple[str, str, str]  # of x, y and colour


def map_figure(
    panels: Mapping[str, np.ndarray], columns: Sequence[str], rows: Sequence[int], titles: Titles
) -> go.Figure:
    """A panel for each map of values [row column], on one scale centred at 0; the first layer is at the bottom."""
    most = max(float(np.abs(values).max()) for values in panels.values()) or 1.0
    figure = make_subplots(
        cols=len(panels), shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=list(panels) if len(panels) > 1 else None,
    )  # fmt: skip
    layers = [str(row) for row in rows]
    for number, values in enumerate(panels.values(), start=1):
        figure.add_heatmap(
            z=values, x=list(range(len(columns))), y=layers, coloraxis="coloraxis", row=1, col=number,
            customdata=[_shown(columns)] * len(rows),
            hovertemplate="layer %{y}, %{customdata}: %{z:.3f}<extra></extra>",
        )  # fmt: skip
    styled(figure, titles[0], titles[1])
    figure.update_xaxes(
        title=titles[0], tickvals=list(range(len(columns))), ticktext=_shown(columns), tickangle=-60, showgrid=False
    )
    figure.update_yaxes(showgrid=False, type="category")  # layers that were left out leave no gap
    bar = {"title": {"text": titles[2]}}
    return figure.update_layout(
        height=max(360, 160 + 16 * len(rows)),
        coloraxis={"colorscale": DIVERGING, "cmin": -most, "cmax": most, "cmid": 0, "colorbar": bar},
    )


def bars_figure(labels: Sequence[str], series: Mapping[str, Sequence[Score]], x: str) -> go.Figure:
    """Horizontal bars with 95 % intervals, a colour for each series; the last one, the control, is grey."""
    figure = go.Figure()
    for index, (name, scores) in enumerate(series.items()):
        colour = MUTED if index and index == len(series) - 1 else (COLOURS[1], COLOURS[0])[index % 2]
        figure.add_bar(
            name=f"{name} (n={scores[0].n})", orientation="h", y=_shown(labels), x=[s.value for s in scores],
            marker_color=colour,
            error_x={
                "type": "data", "thickness": 1, "width": 2,
                "array": [(s.value if s.high is None else s.high) - s.value for s in scores],
                "arrayminus": [s.value - (s.value if s.low is None else s.low) for s in scores],
            },
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "dash": "dot"})
    figure.update_yaxes(autorange="reversed")
    styled(figure, f"{x}, 95 % interval", "")
    return figure.update_layout(height=180 + 14 * len(labels) * len(series), margin={"l": 150})


def pattern_figure(tokens: Sequence[str], patterns: Mapping[str, np.ndarray]) -> go.Figure:
    """A panel for each head: how much each token [row] reads from each [column]; from 0, in white, to 1."""
    figure = make_subplots(cols=len(patterns), shared_yaxes=True, subplot_titles=list(patterns))
    places, texts = list(range(len(tokens))), _shown(tokens)
    for number, values in enumerate(patterns.values(), start=1):
        figure.add_heatmap(
            z=values, x=places, y=places, coloraxis="coloraxis", row=1, col=number,
            hovertemplate="token %{y} reads token %{x}: %{z:.2f}<extra></extra>",
        )  # fmt: skip
    styled(figure, "token that is read", "token that reads")
    figure.update_xaxes(title="token that is read", tickvals=places, ticktext=texts, tickangle=-90, showgrid=False)
    figure.update_xaxes(tickfont={"size": 9})
    figure.update_yaxes(tickvals=places, ticktext=texts, autorange="reversed", showgrid=False)
    scale = ((0.0, "#FFFFFF"), (1.0, COLOURS[0]))
    bar = {"title": {"text": "attention"}}
    return figure.update_layout(
        height=220 + 15 * len(tokens), width=max(480, 120 + 420 * len(patterns)),
        coloraxis={"colorscale": scale, "cmin": 0, "cmax": 1, "colorbar": bar},
    )  # fmt: skip


def path_figure(
    places: Sequence[str],
    carriers: Sequence[tuple[int, int, Score]],
    writers: Sequence[tuple[str, int, int, Score]],
) -> go.Figure:
    """By layer (upward) and token: where the stream carries most, as a line, and what writes there, as marks.

    `carriers` are (layer, place, share), `writers` (stream, layer, place, share); the size of a mark is its share's.
    """
    figure = go.Figure()
    every = [score.value for _, _, score in carriers] + [score.value for _, _, _, score in writers]
    most = max([abs(value) for value in every], default=1.0) or 1.0
    figure.add_scatter(
        name="block input that carries most", x=[place for _, place, _ in carriers], y=[y for y, _, _ in carriers],
        mode="lines+markers", line={"color": MUTED, "width": 1}, text=[_told(score) for *_, score in carriers],
        marker={"symbol": "diamond", "size": [_size(s.value, most) for *_, s in carriers], "coloraxis": "coloraxis",
                "color": [s.value for *_, s in carriers], "line": {"color": MUTED, "width": 1}},
        hovertemplate="block input of layer %{y}: %{text}<extra></extra>",
    )  # fmt: skip
    for stream, (symbol, name) in _SYMBOLS.items():
        kept = [(layer, place, score) for each, layer, place, score in writers if each == stream]
        shift = -0.18 if stream == "attn_out" else 0.18  # so that both are seen where they stand at one token
        figure.add_scatter(
            name=name, x=[place + shift for _, place, _ in kept], y=[layer for layer, _, _ in kept], mode="markers",
            text=[_told(score) for *_, score in kept],
            marker={"symbol": symbol, "size": [_size(s.value, most) for *_, s in kept], "coloraxis": "coloraxis",
                    "color": [s.value for *_, s in kept], "line": {"color": "#222222", "width": 1.5}},
            hovertemplate=f"{name} of layer %{{y}}: %{{text}}<extra></extra>",
        )  # fmt: skip
    styled(figure, "token, from the end", "layer")
    figure.update_xaxes(tickvals=list(range(len(places))), ticktext=_shown(places), range=[-0.6, len(places) - 0.4])
    bar = {"title": {"text": "share<br>restored"}}
    return figure.update_layout(
        height=max(420, 160 + 20 * len(carriers)),
        coloraxis={"colorscale": DIVERGING, "cmin": -most, "cmax": most, "cmid": 0, "colorbar": bar},
    )


def _size(value: float, most: float) -> float:
    return 6 + 18 * float(np.sqrt(abs(value) / most))


def _told(score: Score) -> str:
    return f"{score.format('.2f')}, n={score.n}"


def _shown(tokens: Sequence[str]) -> list[str]:
    """Tokens as labels: line breaks are seen, and nothing is read as markup."""
    return [token.replace("\n", "⏎").replace("<", "‹").replace(">", "›") for token in tokens]
