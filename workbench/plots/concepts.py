"""What a concept bottleneck shows: shares of each token, concepts by token, and how one logit comes about.

Where the parts are `exact` their sum is the logit; elsewhere they are of first order, and the figure says so.
"""

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import numpy as np
import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled

_PARTS = ("known", "discovered", "residual")


def shares_figure(tokens: Sequence[str], shares: np.ndarray, exact: bool = True) -> go.Figure:
    """Stacked bars: of each token's logit, the shares [token part] of known, discovered and residual."""
    figure = go.Figure()
    for name, colour, values in zip(_PARTS, (*COLOURS[:2], MUTED), shares.T, strict=True):
        figure.add_bar(name=name, x=list(range(len(tokens))), y=100 * values, marker_color=colour)
    figure.update_layout(barmode="stack", bargap=0.1)
    figure.update_xaxes(tickvals=list(range(len(tokens))), ticktext=_shown(tokens), tickangle=-60)
    figure.update_yaxes(range=[0, 100])
    return styled(figure, "token of the reply", f"Share of the {_what(exact)}, in %")


def concept_map_figure(
    tokens: Sequence[str], names: Sequence[str], values: np.ndarray, exact: bool = True
) -> go.Figure:
    """A map of what [concept token] adds to each token's logit, zero in white."""
    most = float(np.abs(values).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=values, x=list(range(len(tokens))), y=list(names), zmin=-most, zmax=most, zmid=0,
            colorscale=[[0, COLOURS[0]], [0.5, "#FFFFFF"], [1, COLOURS[1]]],
            colorbar={"title": {"text": "logits" if exact else "logits,<br>first order"}},
            customdata=[_shown(tokens)] * len(names),
            hovertemplate="%{customdata}: %{y} %{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(tickvals=list(range(len(tokens))), ticktext=_shown(tokens), tickangle=-60)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    styled(figure, "token of the reply", "")
    return figure.update_layout(height=150 + 26 * len(names), margin={"l": 110, "r": 8, "t": 12, "b": 84})


def waterfall_figure(parts: Sequence[tuple[str, float]], token: str, exact: bool = True) -> go.Figure:
    """The parts of one token's centred logit, one after the other, and their sum."""
    names = [name for name, _ in parts]
    figure = go.Figure(
        go.Waterfall(
            orientation="h", measure=["relative"] * len(parts) + ["total"],
            y=[*names, "logit" if exact else "sum of the parts"],
            x=[*(value for _, value in parts), 0.0], text=[*(f"{value:+.2f}" for _, value in parts), ""],
            increasing={"marker": {"color": COLOURS[1]}}, decreasing={"marker": {"color": COLOURS[0]}},
            totals={"marker": {"color": MUTED}}, textposition="outside", cliponaxis=False,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=120 + 30 * len(parts), showlegend=False)
    (shown,) = _shown([token])
    return styled(figure, f"Parts of the {_what(exact)} of ‘{shown}’, less the vocabulary's mean", "")


def informed_figure(
    top: Sequence[tuple[float, float, str]], others: Sequence[tuple[float, float]], concept: str
) -> go.Figure:
    """Training texts at (likeness of activations, score by gradient): those that informed it most, and random ones."""
    figure = go.Figure()
    figure.add_scatter(
        name=f"random training texts (n={len(others)})", x=[x for x, _ in others], y=[y for _, y in others],
        mode="markers", marker={"color": MUTED, "size": 6, "opacity": 0.6, "symbol": "circle-open"}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        name=f"those that informed it most (n={len(top)})", x=[x for x, _, _ in top], y=[y for _, y, _ in top],
        mode="markers", marker={"color": COLOURS[1], "size": 10}, hovertemplate="%{text}<extra></extra>",
        text=[_folded(text) for *_, text in top],
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": MUTED, "dash": "dot", "width": 1})
    (shown,) = _shown([concept])
    shown = shown.replace("␣", " ")
    return styled(figure, "alike in what the bottleneck reads, cosine", f"what a step on it adds to {shown}, relative")


def _folded(text: str, width: int = 60, most: int = 300) -> str:
    """A text for a hover: in lines, and nothing of it is markup."""
    return "<br>".join(escape(line) for line in wrap(text[:most], width))


def _what(exact: bool) -> str:
    return "logit" if exact else "logit (first order)"


def _shown(tokens: Sequence[str]) -> list[str]:
    """Tokens as axis labels: blanks are seen, and nothing is read as markup."""
    return [token.replace("\n", "⏎").replace(" ", "␣").replace("<", "‹").replace(">", "›") for token in tokens]
