"""Rates by condition, with intervals."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, styled
from workbench.statistics import Score

_APART = 0.22  # of two sets at one condition


def rates_figure(conditions: Sequence[str], series: Mapping[str, Sequence[Score | None]], title: str) -> go.Figure:
    """A dot for each condition and set, in per cent with its 95 % interval; one series a set, named with its least n;
    None leaves a gap."""
    figure = go.Figure()
    for place, (colour, (name, given)) in enumerate(zip(COLOURS, series.items(), strict=False)):
        kept = [(index, score) for index, score in enumerate(given) if score is not None]
        if not kept:
            continue
        scores = [score for _, score in kept]
        x = [index + _APART * (place - (len(series) - 1) / 2) for index, _ in kept]
        values = [100 * score.value for score in scores]
        highs = [100 * (score.value if score.high is None else score.high) for score in scores]
        lows = [100 * (score.value if score.low is None else score.low) for score in scores]
        figure.add_scatter(
            name=f"{name} (n={min(score.n for score in scores)})", x=x, y=values, mode="markers",
            marker={"color": colour, "size": 11},
            error_y={
                "type": "data", "thickness": 1.5, "width": 5,
                "array": [high - value for high, value in zip(highs, values, strict=True)],
                "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
            },
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=highs, text=[f"{value:.0f}" for value in values], mode="text", textposition="top center",
            textfont={"color": colour}, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.update_xaxes(
        tickvals=list(range(len(conditions))), ticktext=list(conditions), showgrid=False, zeroline=False
    )
    figure.update_yaxes(range=[-3, 112], tickvals=[0, 25, 50, 75, 100])
    return styled(figure, "", f"{title}, 95 % interval")
