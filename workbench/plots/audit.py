"""What became of the matrices that write to the stream, layer by layer: how much each changed, and its dose."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED

Point = tuple[str, int, float, float | None]
_KINDS = {"embed": "x", "pos_embed": "cross", "attn_out": "circle", "mlp_out": "diamond"}
_BESIDE = {"embed": 0.0, "pos_embed": 0.3, "attn_out": -0.15, "mlp_out": 0.15}  # so that none hides another
_EMBEDDED = -1  # where embeddings stand, before the first layer


def audit_figure(points: Sequence[Point], title: str) -> go.Figure:
    """`points` are component, layer, size of the change as a share of the matrix, and dose where it was edited."""
    dosed = any(dose is not None for *_, dose in points)
    figure = make_subplots(rows=1 + dosed, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    if dosed:
        _panel(figure, 1, [(kind, layer, dose) for kind, layer, _, dose in points if dose is not None], True)
        figure.add_hline(y=0, line={"color": MUTED, "dash": "dot"}, row=1, col=1)
        figure.update_yaxes(title="dose along what was found", row=1, col=1)
    _panel(figure, 1 + dosed, [(kind, layer, 100 * size) for kind, layer, size, _ in points], not dosed)
    figure.update_yaxes(title="change, % of the matrix", rangemode="tozero", row=1 + dosed, col=1)
    layers = sorted({layer for kind, layer, *_ in points if "embed" not in kind})
    shown = layers[:: max(1, len(layers) // 12)]
    ticks = {"tickvals": [_EMBEDDED, *shown], "ticktext": ["embed", *map(str, shown)]}
    figure.update_xaxes(**ticks).update_xaxes(title="layer", row=1 + dosed, col=1)
    return figure.update_layout(
        template="plotly_white", font={"size": 14}, margin={"l": 72, "r": 24, "t": 96, "b": 56},
        height=620 if dosed else 420, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        title={"text": title, "y": 0.97, "yanchor": "top"},
    )  # fmt: skip


def _panel(figure: go.Figure, row: int, points: Sequence[tuple[str, int, float]], named: bool) -> None:
    for index, (kind, symbol) in enumerate(_KINDS.items()):
        held = [(layer, value) for name, layer, value in points if name == kind]
        if held:
            figure.add_scatter(
                x=[_BESIDE[kind] + (_EMBEDDED if "embed" in kind else layer) for layer, _ in held],
                y=[value for _, value in held], name=kind, legendgroup=kind, showlegend=named, mode="markers",
                marker={"color": COLOURS[index], "size": 9, "symbol": symbol}, row=row, col=1,
            )  # fmt: skip
