"""What a dose does: a panel for each measure, the recipe beside its random control, and the safe window shaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.bands import Line, Points, draw_band, least_n
from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score, rate_score

Read = Callable[[str, str, str], Score]  # condition, group and measure
Named = Sequence[tuple[float, str]]  # a dose and its condition

SHARES = {
    "refusal, harmful prompts": ("harmful", "refusal"),
    "over-refusal, harmless prompts": ("harmless", "refusal"),
    "coherent compliance, harmful prompts": ("harmful", "compliance"),
    "coherent compliance, harmless prompts": ("harmless", "compliance"),
}
_COLUMNS = 2


@dataclass(frozen=True)
class Panel:
    """A measure under the recipe by dose, 0 among them, under its control, and the line that it is held against."""

    points: Points
    control: Points
    share: bool = True
    limit: float | None = None


def dose_panels(
    read: Read, doses: Named, controls: Named, aimed: tuple[str, str], limits: tuple[float, float, float]
) -> dict[str, Panel]:
    """The measures that a dose is judged by. `limits` are where it works, where it breaks replies, and its KL."""
    works, broken, kl = limits

    def made(of: Callable[[str], Score], share: bool, limit: float | None) -> Panel:
        under, beside = ([(dose, of(name)) for dose, name in each] for each in (doses, controls))
        return Panel(under, beside, share, limit)

    panels = {
        title: made(lambda name, group=group: read(name, *group), True, works if group == aimed else None)  # type: ignore[misc]
        for title, group in SHARES.items()
    }
    panels["broken replies, all prompts"] = made(lambda name: _both_broken(read, name), True, broken)
    panels["KL from the baseline, later tokens of harmless replies"] = made(
        lambda name: read(name, "divergence", "kl"), False, kl
    )
    return panels


def doses_figure(panels: Mapping[str, Panel], x: str, window: tuple[float, float] | None) -> go.Figure:
    """Lines with 95 % bands by dose; dotted is what is asked of a measure or allowed, grey a random direction."""
    rows = -(-len(panels) // _COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=_COLUMNS,
        subplot_titles=[title.replace(", ", "<br>", 1) for title in panels],
        vertical_spacing=0.34 / rows,
        horizontal_spacing=0.17,
    )
    for number, panel in enumerate(panels.values()):
        row, column = (part + 1 for part in divmod(number, _COLUMNS))
        place = {"row": row, "col": column}
        if panel.control:
            _line(figure, panel.control, ("random control", MUTED, "dash"), panel.share, number == 0, place)
        _line(figure, panel.points, ("recipe", COLOURS[0], "solid"), panel.share, number == 0, place)
        if panel.limit is not None:
            level = panel.limit * (100 if panel.share else 1)
            figure.add_hline(y=level, line={"color": COLOURS[1], "dash": "dot", "width": 2}, **place)
        if window is not None:
            _shaded(figure, window, place)
        if panel.share:
            figure.update_yaxes(range=[-4, 104], tickvals=[0, 25, 50, 75, 100], **place)
    line = {"color": COLOURS[1], "dash": "dot", "width": 2}
    figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name="asked for, or allowed")
    if window is not None:
        square = {"symbol": "square", "size": 13, "color": COLOURS[2], "opacity": 0.5}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=square, name="safe window")
    styled(figure, "", "")
    for number, panel in enumerate(panels.values()):
        row, column = (part + 1 for part in divmod(number, _COLUMNS))
        figure.update_yaxes(title="replies (%)" if panel.share else "KL (nats)", row=row, col=column)
    figure.update_xaxes(title=x, row=rows)
    figure.update_annotations(font_size=13)
    above = {"yref": "container", "y": 1.0, "yanchor": "top", "font": {"size": 12}}
    return figure.update_layout(height=120 + 250 * rows, legend=above, margin={"t": 120})


def _line(
    figure: go.Figure, points: Points, style: tuple[str, str, str], share: bool, named: bool, place: Mapping[str, int]
) -> None:  # fmt: skip
    name, colour, dash = style
    line = Line(f"{name} (n={least_n(points)}), 95 %", colour, dash, named=named, group=name)
    draw_band(figure, points, line, times=100 if share else 1, place=place)


def _shaded(figure: go.Figure, window: tuple[float, float], place: Mapping[str, int]) -> None:
    """The window; where one dose is all there is of it, a line that can be seen."""
    low, high = sorted(window)
    figure.add_vrect(
        x0=low - 0.015, x1=high + 0.015, fillcolor=COLOURS[2], opacity=0.2, line_width=0, layer="below", **place
    )  # fmt: skip


def _both_broken(read: Read, condition: str) -> Score:
    parts = [read(condition, asked, "broken") for asked in ("harmful", "harmless")]
    return rate_score(
        "broken", sum(round(part.value * part.n) for part in parts), sum(part.n for part in parts), "lower"
    )
