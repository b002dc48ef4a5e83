"""Several results beside each other: scores by row and series, and conditions as points on two axes."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_ROW = 26  # pixels
_APART = 0.62  # of a row's height, that its series share
_SYMBOLS = ("circle", "square", "triangle-up", "star", "x", "cross")
Point = tuple[str, Score, Score]


def compared_figure(
    rows: Sequence[str], series: Mapping[str, Sequence[Score | None]], x: str, *, percent: bool = False,
    zero: bool = False,
) -> go.Figure:  # fmt: skip
    """A dot and its interval for each row and series; None leaves a gap, and `zero` draws the line of no change."""
    figure, times = go.Figure(), 100.0 if percent else 1.0
    step = _APART / max(1, len(series))
    for place, (name, scores) in enumerate(series.items()):
        kept = [(index, score) for index, score in enumerate(scores) if score is not None]
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(
            name=escape(name), mode="markers", x=[times * score.value for _, score in kept],
            y=[index + step * (place - (len(series) - 1) / 2) for index, _ in kept],
            text=[f"{escape(rows[index])}: {_said(score, times)}" for index, score in kept], hoverinfo="text+name",
            marker={"color": colour, "size": 10, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
            error_x=_bars([score for _, score in kept], times, colour),
        )  # fmt: skip
    if zero:
        figure.add_vline(x=0, line={"color": MUTED, "dash": "dot"})
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[escape(row) for row in rows], range=[len(rows) - 0.5, -0.5],
        zeroline=False, automargin=True,
    )  # fmt: skip
    styled(figure, f"{x}, 95 % interval", "")
    height = 200 + _ROW * len(rows) * max(1, (len(series) + 1) // 2)
    return figure.update_layout(height=height, legend={"y": 1.0, "yanchor": "bottom"}, showlegend=True)


def grouped_figure(
    groups: Mapping[str, Sequence[Point]], x: str, y: str, *, percent: tuple[bool, bool], baseline: str,
    controls: Collection[str] = (),
) -> go.Figure:  # fmt: skip
    """Points of (name, x score, y score), one colour a group, with the intervals of both; the baseline is a diamond,
    and controls are hollow."""
    figure = go.Figure()
    wide, high = (100.0 if each else 1.0 for each in percent)
    for place, (group, points) in enumerate(groups.items()):
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(
            name=escape(group), mode="markers",
            x=[wide * across.value for _, across, _ in points], y=[high * up.value for _, _, up in points],
            text=[f"{escape(name)}: {_said(across, wide)}; {_said(up, high)}" for name, across, up in points],
            hoverinfo="text+name", error_x=_bars([across for _, across, _ in points], wide, colour, 0.8),
            error_y=_bars([up for _, _, up in points], high, colour, 0.8),
            marker={
                "color": colour, "size": 11, "line": {"width": 1.5, "color": colour},
                "symbol": [_symbol(name, baseline, controls) for name, _, _ in points],
            },
        )  # fmt: skip
    return styled(figure, f"{x}, 95 % interval", f"{y}, 95 % interval").update_layout(height=480, showlegend=True)


def _symbol(name: str, baseline: str, controls: Collection[str]) -> str:
    return "diamond" if name == baseline else "circle-open" if name in controls else "circle"


def _said(score: Score, times: float) -> str:
    ends = "" if score.low is None or score.high is None else f" [{times * score.low:.3g}, {times * score.high:.3g}]"
    return f"{times * score.value:.3g}{ends}, n={score.n}"


def _bars(scores: Sequence[Score], times: float, colour: str, thickness: float = 1.5) -> dict[str, object]:
    return {
        "type": "data", "thickness": thickness, "width": 4, "color": colour,
        "array": [times * ((s.value if s.high is None else s.high) - s.value) for s in scores],
        "arrayminus": [times * (s.value - (s.value if s.low is None else s.low)) for s in scores],
    }  # fmt: skip
