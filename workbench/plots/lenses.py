"""What a lens reads: a map of layers and tokens with words in its cells, and curves over the layers.

The first layer is at the bottom, as the stream goes up. Words are shown as they are and never read as markup.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from workbench.plots.bands import Line, draw_band, least_n
from workbench.plots.style import COLOURS, MUTED, styled
from workbench.statistics import Score

Words = Sequence[Sequence[str]]
_LONGEST = 9  # characters of a word in a cell
_DARK = 0.6  # of the scale; from there on, letters are white
DEPTH = "blocks passed (0: embedding)"


def tokens_map(
    values: Float[np.ndarray, "site token"],
    words: Words,
    tokens: Sequence[str],
    depths: Sequence[int],
    hovers: Words,
    *,
    title: str = "probability<br>of the top<br>token",
) -> go.Figure:
    """A word in each cell, a probability (by default the word's own) as the ground, from white at 0 to blue at 1."""
    scale = ((0.0, "#FFFFFF"), (1.0, COLOURS[0]))
    figure = token_grid(values, tokens, depths, [[marked_up(text) for text in line] for line in hovers])
    write_cells(figure, [[short_word(word) for word in line] for line in words], values > _DARK)
    bar = {"title": {"text": _plain(title, keep="<br>")}, "tickformat": ".0%"}
    return figure.update_layout(coloraxis={"colorscale": scale, "cmin": 0, "cmax": 1, "colorbar": bar})


def values_map(
    values: Float[np.ndarray, "site token"],
    words: Words,
    tokens: Sequence[str],
    depths: Sequence[int],
    title: str,
) -> go.Figure:
    """Values on a diverging scale that is white at 0 and ends where they end, with a word in each cell."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    most = max(-low, high) or 1.0
    low, high = (low, high) if low < high else (-most, most)
    hovers = [[f"{value:.2f}" for value in line] for line in values]
    figure = token_grid(values, tokens, depths, hovers)
    write_cells(figure, [[short_word(word) for word in line] for line in words], np.abs(values) > _DARK * most)
    bar = {"title": {"text": _plain(title, keep="<br>")}}
    ends = _tinted(COLOURS[0], -low / most), _tinted(COLOURS[1], high / most)
    scale = [(0.0, ends[0]), (-low / (high - low), "#FFFFFF"), (1.0, ends[1])]
    return figure.update_layout(coloraxis={"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar})


def layers_figure(
    series: Mapping[str, Sequence[Score]],
    depths: Sequence[int],
    y: str,
    *,
    marks: Mapping[str, int] | None = None,
    logarithmic: bool = False,
) -> go.Figure:
    """A line with its band for each series over the blocks; `marks` are depths to point at, by what they say.

    What is called a control is grey.
    """
    figure = go.Figure()
    for number, (name, scores) in enumerate(series.items()):
        colour = MUTED if "shuffled" in name else COLOURS[(1, 0, 2, 3, 4, 5)[number % 6]]
        dash = ("solid", "dash", "dot", "dashdot")[number % 4]
        points = list(zip(depths, scores, strict=True))
        draw_band(figure, points, Line(f"{_plain(name)} (n={least_n(points)})", colour, dash, 5))
    for said, place in (marks or {}).items():
        figure.add_vline(
            x=place, line={"color": MUTED, "dash": "dot"}, annotation_text=_plain(said),
            annotation_position="top left" if place > max(depths) / 2 else "top right",
        )  # fmt: skip
    if logarithmic:
        ticks = [digit * 10.0**power for power in range(-6, 4) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(dtick=-(-len(depths) // 15))
    styled(figure, DEPTH, f"{y}, 95 % interval")
    return figure.update_layout(height=460, margin={"t": 72})


def _tinted(colour: str, share: float) -> str:
    """A share of a colour, the rest of it white."""
    parts = [round(255 + share * (int(colour[at : at + 2], 16) - 255)) for at in (1, 3, 5)]
    return f"rgb({parts[0]},{parts[1]},{parts[2]})"


def token_grid(values: np.ndarray, tokens: Sequence[str], depths: Sequence[int], hovers: Words) -> go.Figure:
    """A heatmap of sites and tokens, with a hover text for each cell, which is read as markup."""
    figure = go.Figure()
    figure.add_heatmap(
        z=values, x=list(range(len(tokens))), y=list(range(len(depths))), coloraxis="coloraxis", xgap=1, ygap=1,
        customdata=hovers, hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    styled(figure, "after this token", DEPTH)
    labels, plain = [short_word(token, 12) for token in tokens], {"showgrid": False, "zeroline": False}
    figure.update_xaxes(tickvals=list(range(len(tokens))), ticktext=labels, tickangle=-60, **plain)
    figure.update_yaxes(tickvals=list(range(len(depths))), ticktext=[str(d) for d in depths], **plain)
    height, width = max(400, 170 + 22 * len(depths)), max(480, 190 + 62 * len(tokens))
    return figure.update_layout(height=height, width=width, margin={"t": 24})


def write_cells(figure: go.Figure, words: Words, dark: np.ndarray) -> None:
    """A word in each cell; letters are white where the ground is `dark`."""
    rows, columns = dark.shape
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    figure.add_scatter(
        x=[column for _, column in cells], y=[row for row, _ in cells], text=[words[r][c] for r, c in cells],
        mode="text", hoverinfo="skip", showlegend=False,
        textfont={"size": 10, "color": ["white" if dark[cell] else "#222222" for cell in cells]},
    )  # fmt: skip


def short_word(word: str, longest: int = _LONGEST) -> str:
    """A word cut to fit a cell, with nothing that Plotly reads as markup."""
    shown = "".join("⏎" if c == "\n" else c if c.isprintable() else "·" for c in word)
    return marked_up(shown if len(shown) <= longest else shown[: longest - 1] + "…")


def _plain(text: str, keep: str = "") -> str:
    """Text that Plotly does not read as markup, but for the line breaks of our own titles."""
    parts = text.split(keep) if keep else [text]
    return keep.join(marked_up(part) for part in parts)


def marked_up(text: str) -> str:
    """Text as markup that shows it as it is."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace("\n", "<br>")
