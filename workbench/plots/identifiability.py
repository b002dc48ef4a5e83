"""How sure a direction is: agreement by number of prompts, cosines between variants, and what each of them does."""

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED
from workbench.statistics import Score

Measured = Sequence[tuple[int, Score | None, Score | None]]
Panel = dict[str, int]
_LINE = 18  # pixels


def identifiability_figure(
    curve: Measured,
    expected: Sequence[tuple[int, float]],
    names: Sequence[str],
    cosines: Sequence[Sequence[float]],
    effects: Sequence[Score],
    *,
    stacked: bool = False,
) -> go.Figure:
    """Three panels, side by side or, where the page may be narrow, `stacked`. `curve` is n with the agreement of real
    and of shuffled labels, `effects` the refusal metric under no edit, under each variant ablated, and under a random
    control."""
    titles = ("Two draws of n prompts a side", "Cosine between variants", "Ablated, on the same prompts")
    if stacked:
        figure = make_subplots(rows=3, cols=1, vertical_spacing=0.09, subplot_titles=titles)
    else:
        figure = make_subplots(
            rows=1, cols=3, column_widths=[0.3, 0.33, 0.37], horizontal_spacing=0.13, subplot_titles=titles
        )  # fmt: skip
    panels: list[Panel] = [
        {"row": number if stacked else 1, "col": 1 if stacked else number} for number in (1, 2, 3)
    ]  # fmt: skip
    _agreement(figure, curve, expected, panels[0])
    letters = [chr(ord("A") + index) for index in range(len(names))]
    _cosines(figure, letters, cosines, panels[1])
    _effects(figure, letters, effects, panels[2])
    return _explained(figure, [f"<b>{letter}</b> {name}" for letter, name in zip(letters, names, strict=True)], stacked)


def _explained(figure: go.Figure, variants: Sequence[str], stacked: bool) -> go.Figure:
    """Legends, and room for them."""
    text = "<br>".join(variants if stacked else wrap("   ".join(variants), 150))
    figure.add_annotation(
        text=text, xref="paper", yref="paper", x=0, y=-0.07 if stacked else -0.24, xanchor="left", yanchor="top",
        showarrow=False, align="left",
    )  # fmt: skip
    size = {"height": 1120 + _LINE * len(variants)} if stacked else {"height": 520, "width": 1250}
    return figure.update_layout(
        template="plotly_white", font={"size": 13}, **size,
        margin={"l": 64, "r": 24, "t": 90, "b": 100 + _LINE * len(variants) if stacked else 140},
        legend={"orientation": "h", "y": 1.05 if stacked else 1.22, "x": 0},
    )  # fmt: skip


def _agreement(figure: go.Figure, curve: Measured, expected: Sequence[tuple[int, float]], at: Panel) -> None:
    for name, column, colour in (("real labels", 1, COLOURS[0]), ("shuffled labels", 2, COLOURS[1])):
        points = [(row[0], row[column]) for row in curve]
        held = [(n, score) for n, score in points if isinstance(score, Score)]
        figure.add_scatter(
            x=[n for n, _ in held], y=[score.value for _, score in held], mode="lines+markers", name=name,
            marker={"color": colour, "size": 9}, line={"color": colour},
            error_y={
                "type": "data", "thickness": 1.2, "width": 4,
                "array": [(score.high or score.value) - score.value for _, score in held],
                "arrayminus": [score.value - (score.low or score.value) for _, score in held],
            }, **at,
        )  # fmt: skip
    if expected:
        figure.add_scatter(
            x=[n for n, _ in expected], y=[value for _, value in expected], mode="lines", name="expected of noise",
            line={"color": MUTED, "dash": "dash"}, **at,
        )  # fmt: skip
    sizes = [n for n, *_ in curve]
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[str(n) for n in sizes], title="n", **at)
    figure.update_yaxes(range=[-0.6, 1.05], title="cosine, 95 % of draws", **at)


def _cosines(figure: go.Figure, letters: Sequence[str], cosines: Sequence[Sequence[float]], at: Panel) -> None:
    figure.add_heatmap(
        z=cosines, x=letters, y=letters, zmin=0, zmax=1, colorscale="Cividis", showscale=False,
        text=[[f"{value:.2f}" for value in row] for row in cosines], texttemplate="%{text}", **at,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", **at)


def _effects(figure: go.Figure, letters: Sequence[str], effects: Sequence[Score], at: Panel) -> None:
    places = ["no edit", *letters, "random"]
    for which, colour in ((range(1, len(effects) - 1), COLOURS[0]), ((0, len(effects) - 1), MUTED)):
        scores = [effects[index] for index in which]
        figure.add_scatter(
            x=[places[index] for index in which], y=[score.value for score in scores], mode="markers",
            marker={"color": colour, "size": 10}, showlegend=False,
            error_y={
                "type": "data", "thickness": 1.2, "width": 4,
                "array": [(score.high or score.value) - score.value for score in scores],
                "arrayminus": [score.value - (score.low or score.value) for score in scores],
            }, **at,
        )  # fmt: skip
    figure.update_xaxes(categoryorder="array", categoryarray=places, **at)
    figure.update_yaxes(title=f"refusal metric, n={effects[0].n}, 95 % (log-odds)", **at)
