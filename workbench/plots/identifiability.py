"""How sure a direction is: agreement by number of prompts, cosines between variants, and what each of them does."""

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED
from workbench.statistics import Score

Measured = Sequence[tuple[int, Score | None, Score | None]]


def identifiability_figure(
    curve: Measured,
    expected: Sequence[tuple[int, float]],
    names: Sequence[str],
    cosines: Sequence[Sequence[float]],
    effects: Sequence[Score],
) -> go.Figure:
    """Three panels. `curve` holds n with the agreement of real and of shuffled labels, `effects` the refusal metric
    under no edit, under each variant ablated, and under a random control."""
    figure = make_subplots(
        rows=1, cols=3, column_widths=[0.3, 0.33, 0.37], horizontal_spacing=0.13,
        subplot_titles=("Two draws of n prompts a side", "Cosine between variants", "Ablated, on the same prompts"),
    )  # fmt: skip
    _agreement(figure, curve, expected)
    letters = [chr(ord("A") + index) for index in range(len(names))]
    _cosines(figure, letters, cosines)
    _effects(figure, letters, effects)
    legend = "   ".join(f"<b>{letter}</b> {name}" for letter, name in zip(letters, names, strict=True))
    figure.add_annotation(
        text="<br>".join(wrap(legend, 150)), xref="paper", yref="paper", x=0, y=-0.24, xanchor="left", yanchor="top",
        showarrow=False, align="left",
    )  # fmt: skip
    figure.update_layout(
        template="plotly_white", font={"size": 13}, margin={"l": 64, "r": 24, "t": 90, "b": 140}, width=1250,
        height=520, legend={"orientation": "h", "y": 1.22, "x": 0},
    )  # fmt: skip
    return figure


def _agreement(figure: go.Figure, curve: Measured, expected: Sequence[tuple[int, float]]) -> None:
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
            }, row=1, col=1,
        )  # fmt: skip
    if expected:
        figure.add_scatter(
            x=[n for n, _ in expected], y=[value for _, value in expected], mode="lines", name="expected of noise",
            line={"color": MUTED, "dash": "dash"}, row=1, col=1,
        )  # fmt: skip
    sizes = [n for n, *_ in curve]
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[str(n) for n in sizes], title="n", row=1, col=1)
    figure.update_yaxes(range=[-0.6, 1.05], title="cosine, 95 % of draws", row=1, col=1)


def _cosines(figure: go.Figure, letters: Sequence[str], cosines: Sequence[Sequence[float]]) -> None:
    figure.add_heatmap(
        z=cosines, x=letters, y=letters, zmin=0, zmax=1, colorscale="Cividis", showscale=False,
        text=[[f"{value:.2f}" for value in row] for row in cosines], texttemplate="%{text}", row=1, col=2,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", row=1, col=2)


def _effects(figure: go.Figure, letters: Sequence[str], effects: Sequence[Score]) -> None:
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
            }, row=1, col=3,
        )  # fmt: skip
    figure.update_xaxes(categoryorder="array", categoryarray=places, row=1, col=3)
    figure.update_yaxes(title=f"refusal metric, n={effects[0].n}, 95 % (log-odds)", row=1, col=3)
