"""A line with its 95 % band: what every curve of a score is drawn as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from workbench.statistics import Score

Points = Sequence[tuple[float | int, Score]]


@dataclass(frozen=True)
class Line:
    """How a line looks, what it is called, and whether the legend says so."""

    name: str
    colour: str
    dash: str = "solid"
    mark: int = 6  # size, 0 for none
    named: bool = True
    group: str = ""  # what the legend switches on and off with it; its name where none is given


def draw_band(
    figure: go.Figure, points: Points, line: Line, *, times: float | int = 1, place: Mapping[str, int] | None = None
) -> None:
    """Add (x, score) points as a line and the band of their intervals, to the panel at `place` (row and col)."""
    group = line.group or line.name
    xs, scores, where = [x for x, _ in points], [score for _, score in points], dict(place or {})
    highs = [times * (s.value if s.high is None else s.high) for s in scores]
    lows = [times * (s.value if s.low is None else s.low) for s in scores]
    figure.add_scatter(
        x=[*xs, *reversed(xs)], y=[*highs, *reversed(lows)], fill="toself", fillcolor=line.colour, opacity=0.16,
        line={"width": 0}, hoverinfo="skip", mode="lines", showlegend=False, legendgroup=group, **where,
    )  # fmt: skip
    style: dict[str, Any] = {"marker": {"size": line.mark}} if line.mark else {}
    figure.add_scatter(
        name=line.name, x=xs, y=[times * s.value for s in scores], mode="lines+markers" if line.mark else "lines",
        line={"color": line.colour, "dash": line.dash, "width": 2}, legendgroup=group, showlegend=line.named,
        text=[f"[{low:.3g}, {high:.3g}], n={s.n}" for low, high, s in zip(lows, highs, scores, strict=True)],
        hovertemplate="%{x:g}: %{y:.3g} %{text}", **style, **where,
    )  # fmt: skip


def least_n(points: Points) -> int:
    """The fewest items behind any of the points."""
    return min((score.n for _, score in points), default=0)
