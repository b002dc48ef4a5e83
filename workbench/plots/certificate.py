"""How far three sets of logits are from a live edit: what was exported, the edit rounded once more, the plain model."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled

_SYMBOLS = ("circle", "diamond-open", "x")
_ROW = 64  # pixels
_WIDE = 22  # characters of a row's name


def certificate_figure(
    distances: Mapping[str, Sequence[float]], measures: Sequence[str], allowed: Mapping[str, float], x: str
) -> go.Figure:
    """A row for each measure, a mark for each set of `distances`, on a logarithmic scale; what is allowed as a bar.

    The first set is the export. A distance of 0, which a logarithm has no place for, is drawn at the left edge and
    says so.
    """
    names = [_wrapped(measure) for measure in measures]
    known = [value for values in distances.values() for value in values if value > 0] + list(allowed.values())
    floor = min((value for value in known if value > 0), default=1.0) / 10
    figure = go.Figure()
    colours = (COLOURS[0], COLOURS[4], MUTED)
    for (name, values), colour, symbol in zip(distances.items(), colours, _SYMBOLS, strict=False):
        figure.add_scatter(
            name=name, x=[max(value, floor) for value in values], y=names, mode="markers",
            marker={"color": colour, "size": 13, "symbol": symbol, "line": {"width": 2, "color": colour}},
            customdata=[f"{value:.3g}" for value in values],
            hovertemplate="%{y}: %{customdata}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    exported = next(iter(distances.values()))
    figure.add_scatter(
        x=[max(value, floor) for value in exported], y=names, mode="text", showlegend=False, hoverinfo="skip",
        cliponaxis=False,
        text=[f"{value:.2g}<br> " for value in exported], textposition="top center", textfont={"color": COLOURS[0]},
    )  # fmt: skip
    figure.add_scatter(
        name="allowed, at most", x=list(allowed.values()), y=[_wrapped(measure) for measure in allowed], mode="markers",
        marker={"symbol": "line-ns", "size": 30, "line": {"width": 4, "color": COLOURS[1]}},
        hovertemplate="%{y}: allowed %{x:.3g}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1, exponentformat="power")
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], automargin=True)
    below = {"orientation": "h", "xref": "container", "yref": "container", "x": 0, "y": 0, "yanchor": "bottom"}
    return styled(figure, x, "").update_layout(
        height=200 + _ROW * len(measures), legend=below, margin={"l": 24, "t": 48, "b": 150}
    )


def _wrapped(measure: str) -> str:
    return "<br>".join(wrap(measure, _WIDE))
