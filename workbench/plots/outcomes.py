"""What became of requests: a panel for each outcome, a row for each attack on each recipe, with intervals."""

from collections.abc import Collection, Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

_ROW = 25  # pixels
_ORDER = (0, 1, 4, 3)  # of the palette: blue, orange, amber, pink


def outcomes_figure(
    rows: Sequence[tuple[str, str]],
    outcomes: Mapping[str, Sequence[Score | None]],
    controls: Collection[str] = (),
) -> go.Figure:
    """Rates in per cent; `rows` are (attack, recipe), and each of `outcomes` has a score for every row, or none.

    Recipes in `controls` are drawn hollow. A dotted line goes through the first row, which all others are held against.
    """
    places, ticks = _laid_out(rows)
    n = sorted({score.n for scores in outcomes.values() for score in scores if score is not None})
    figure = make_subplots(
        rows=1, cols=max(1, len(outcomes)), shared_yaxes=True, horizontal_spacing=0.055, subplot_titles=list(outcomes)
    )
    for column, (colour, (name, scores)) in enumerate(zip(_ORDER, outcomes.items(), strict=False), start=1):
        for hollow in (False, True):
            kept = [
                (place, recipe, attack, score)
                for place, (attack, recipe), score in zip(places, rows, scores, strict=True)
                if score is not None and (recipe in controls) is hollow
            ]
            if kept:
                figure.add_trace(_dots(name, kept, COLOURS[colour], hollow), row=1, col=column)
        if scores and scores[0] is not None:
            first = 100 * scores[0].value
            figure.add_vline(x=first, line={"color": MUTED, "dash": "dot", "width": 1}, row=1, col=column)
    styled(figure, "", "")
    figure.update_xaxes(range=[-8, 108], tickvals=[0, 50, 100], tickfont={"size": 11}, zeroline=False)
    figure.update_yaxes(
        tickvals=list(ticks), ticktext=list(ticks.values()), range=[max(ticks, default=0) + 0.7, -0.7], showgrid=False,
        zeroline=False,
    )  # fmt: skip
    said = f"n={n[0]}" if len(n) == 1 else f"n={n[0]}-{n[-1]}" if n else "n=0"
    figure.add_annotation(
        text=f"% of replies, 95 % interval, {said}; hollow: control", x=0.5, y=0, xref="paper",
        yref="paper", yshift=-44, showarrow=False, font={"size": 13},
    )  # fmt: skip
    return figure.update_layout(
        height=130 + _ROW * len(ticks), showlegend=False, margin={"l": 124, "r": 16, "t": 36, "b": 62}
    )


def _laid_out(rows: Sequence[tuple[str, str]]) -> tuple[list[int], dict[int, str]]:
    """The place of every row, with a line before each attack that names it; and what is written beside the lines."""
    places: list[int] = []
    ticks: dict[int, str] = {}
    for index, (attack, recipe) in enumerate(rows):
        if index == 0 or rows[index - 1][0] != attack:
            ticks[len(ticks)] = f"<b>{escape(attack)}</b>"
        places.append(len(ticks))
        ticks[len(ticks)] = escape(recipe)
    return places, ticks


def _dots(name: str, kept: Sequence[tuple[int, str, str, Score]], colour: str, hollow: bool) -> go.Scatter:
    ends = [tuple(s.value if end is None else end for end in (s.low, s.high)) for *_, s in kept]
    said = [f"{escape(attack)}, {escape(recipe)}: {100 * s.value:.0f} % [{100 * low:.0f}, {100 * high:.0f}], n={s.n}"
            for (_, recipe, attack, s), (low, high) in zip(kept, ends, strict=True)]  # fmt: skip
    return go.Scatter(
        name=name, x=[100 * s.value for *_, s in kept], y=[place for place, *_ in kept], mode="markers",
        cliponaxis=False,
        marker={"color": colour, "size": 9, "symbol": "circle-open" if hollow else "circle",
                "line": {"width": 2, "color": colour}},
        error_x={
            "type": "data", "thickness": 1.4, "width": 3, "color": colour,
            "array": [100 * (high - s.value) for (*_, s), (_, high) in zip(kept, ends, strict=True)],
            "arrayminus": [100 * (s.value - low) for (*_, s), (low, _) in zip(kept, ends, strict=True)],
        },
        text=said, hovertemplate="%{text}<extra>" + name + "</extra>",
    )  # fmt: skip
