"""What a monitor reads, token by token, and how far two sets of prompts lie apart before a word is said."""

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from workbench.plots.curves import DASHES
from workbench.plots.style import COLOURS, MUTED, styled

_NAMED = 6  # replies that have a colour and a name of their own
_SCALE = "coordinate (natural units; 0 and 1 are the class means of a direction)"
_DOTS = {"color": MUTED, "dash": "dot"}


def monitor_figure(lines: Sequence[Sequence[float]], labels: Sequence[str], threshold: float) -> go.Figure:
    """A line for each reply, from the token before its first word on, and the threshold above which it is an alarm.

    Where they are many, colour says which had an alarm, and the pointer which is which.
    """
    figure, few = go.Figure(), len(lines) <= _NAMED
    seen: set[str] = set()
    for index, (line, label) in enumerate(zip(lines, labels, strict=True)):
        loud = any(value > threshold for value in line)
        group = _short(label) if few else "alarm" if loud else "no alarm"
        place = index if few else int(loud)
        figure.add_scatter(
            x=list(range(len(line))), y=list(line), mode="lines+markers", name=group,
            legendgroup=str(index) if few else group, showlegend=few or group not in seen,
            hovertemplate=f"{_short(label)}<br>token %{{x}}: %{{y:.2f}}<extra></extra>",
            line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)], "width": 2},
            marker={"size": [9 if value > threshold else 4 for value in line]},
        )  # fmt: skip
        seen.add(group)
    figure.add_hline(y=threshold, line=_DOTS, annotation_text="threshold", annotation_position="top left")
    last = max((len(line) for line in lines), default=1) - 1
    styled(figure, "token of the reply (0: before a word is said)", _SCALE)
    return figure.update_xaxes(range=[-0.5, last + 0.5], dtick=1 if last < 20 else None)


def first_reads_figure(sides: Mapping[str, Sequence[float]], threshold: float) -> go.Figure:
    """Histograms of what is read before a word is said, one for each side, and the threshold."""
    figure = go.Figure()
    both = [value for values in sides.values() for value in values]
    width = (max(both) - min(both)) / 40 or 1.0
    for index, (name, values) in enumerate(sides.items()):
        above = sum(value > threshold for value in values)
        figure.add_histogram(
            x=list(values), name=f"{escape(name)}: {above} of {len(values)} above", opacity=0.7, histnorm="percent",
            xbins={"start": min(both), "end": max(both) + width, "size": width},
            marker={"color": (COLOURS[1], COLOURS[0])[index % 2], "pattern": {"shape": ("", "/")[index % 2]}},
        )  # fmt: skip
    figure.add_vline(x=threshold, line=_DOTS, annotation_text="threshold", annotation_position="top right")
    styled(figure, _SCALE, "% of the prompts")
    return figure.update_layout(barmode="overlay")


def _short(label: str, most: int = 40) -> str:
    return escape(label if len(label) <= most else f"{label[: most - 1]}…")
