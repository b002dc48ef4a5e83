"""Rates by condition, with intervals."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, styled
from workbench.statistics import Score


def rates_figure(conditions: Sequence[str], series: Mapping[str, Sequence[Score]], title: str) -> go.Figure:
    """Grouped bars in per cent with 95 % intervals; one series a set of prompts, named with its n."""
    figure = go.Figure()
    for colour, (name, scores) in zip(COLOURS, series.items(), strict=False):
        figure.add_bar(
            name=f"{name} (n={scores[0].n})",
            x=list(conditions),
            y=[100 * score.value for score in scores],
            error_y={
                "type": "data",
                "array": [100 * ((score.high or score.value) - score.value) for score in scores],
                "arrayminus": [100 * (score.value - (score.low or 0.0)) for score in scores],
                "thickness": 1.5,
            },
            text=[f"{100 * score.value:.0f}" for score in scores],
            textposition="inside",
            insidetextanchor="start",
            marker_color=colour,
        )
    figure.update_yaxes(range=[0, 105])
    return styled(figure, "", f"{title}, 95 % interval")
