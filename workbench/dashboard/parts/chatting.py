"""Replies in columns, coloured, and the same as lines over the tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
import streamlit as st

from workbench.dashboard.engine import Job
from workbench.dashboard.engine.talk import Asked, Change, Reader, Talk
from workbench.dashboard.parts.conversation import Message
from workbench.dashboard.parts.engine import show_progress, submit
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.tokens import coloured, first_parted, largest

if TYPE_CHECKING:
    from workbench.directions.asset import Watchable
    from workbench.generation import Token
    from workbench.models import Subject

_TICK = 0.2  # seconds between two looks at what was said
_HEIGHT = 300  # of a reply, so that nothing below it moves while it grows


@dataclass(frozen=True)
class Colours:
    """What tokens are coloured by."""

    by: str
    direction: str | None
    BY: ClassVar[tuple[str, ...]] = ("the direction", "KL from the baseline", "entropy", "nothing")

    def values(self, tokens: "Sequence[Token]") -> list[float | None]:
        """One number a token, or none."""
        if self.by == "the direction":
            return [token.watched.get(self.direction or "") for token in tokens]
        if self.by == "KL from the baseline":
            return [token.kl for token in tokens]
        return [token.entropy if self.by == "entropy" else None for token in tokens]

    @property
    def unit(self) -> str:
        """What the numbers are."""
        if self.by == "the direction":
            return f"along {self.direction}, class gaps"
        return f"{self.by}, nats"


def replies(talk: Talk, colours: Colours, job: Job) -> None:
    """Every column as far as it has come."""
    tokens = [list(column) for column in talk.tokens]
    values = [colours.values(column) for column in tokens]
    most = largest(values)
    for number, part in enumerate(st.columns(len(tokens))):
        with part, st.container(border=True):
            st.markdown(f"**{talk.asked.columns[number].name}**")
            st.text(_recipes(talk.changes[number]))
            parted = first_parted(tokens[number], tokens[0]) if number else None
            with st.container(height=_HEIGHT, border=False):
                st.html(coloured(tokens[number], values[number], colours.unit, most, parted, talk.asked.prefill))
            st.caption(_end(talk, number, parted, job))
    if talk.refused:
        st.warning(plain(talk.refused))


def sent(
    asked: Asked,
    read: Reader,
    watch: "Callable[[Subject], Mapping[str, Watchable]]",
    rack: Mapping[str, str] | None = None,
) -> Message:
    """Queue a message. Raises what `submit` raises."""
    talk = Talk(asked)
    return Message(talk, submit("Your message", talk.work(read, watch)), dict(rack or {}))


def live(message: Message, colours: Colours, key: str) -> None:
    """The columns as they grow, with a way to stop."""

    @st.fragment(run_every=_TICK)
    def growing() -> None:
        if message.job.ended:
            st.rerun()
        bar, button = st.columns([5, 1], vertical_alignment="center")
        with button:
            if st.button("Stop", icon=":material/stop_circle:", key=key, type="primary", width="stretch"):
                message.job.cancel()
        with bar:
            show_progress(message.job)
        replies(message.talk, colours, message.job)

    growing()


def ended(message: Message, colours: Colours) -> None:
    """The columns as they were left, and why where it failed."""
    replies(message.talk, colours, message.job)
    if message.job.error:
        st.error(plain(message.job.error))


def timeline(talk: Talk, colours: Colours) -> None:
    """What the tokens are coloured by, as a line a column."""
    from workbench.plots.timelines import timelines_figure

    lines = {
        column.name: [(float(i), v) for i, v in enumerate(colours.values(tokens)) if v is not None]
        for column, tokens in zip(talk.asked.columns, talk.tokens, strict=True)
    }
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return
    rows = [
        {"column": column.name, "token": token.index, "text": token.text, "log_probability": token.logprob,
         "entropy": token.entropy, "kl": token.kl, **token.watched}
        for column, tokens in zip(talk.asked.columns, talk.tokens, strict=True) for token in tokens
    ]  # fmt: skip
    changes = sorted({change.index for each in talk.changes for change in each if change.index})
    figure = timelines_figure(lines, "token of the reply", colours.unit, changes)
    shown(figure, pd.DataFrame(rows), "reply", f"{colours.unit} of each token of the reply, a line for each column.")


def _recipes(changes: Sequence[Change]) -> str:
    """The recipe a reply is under, and what it was under before."""
    said = [change.recipe or "nothing" for change in changes]
    later = [f"from token {change.index}: {text}" for change, text in zip(changes[1:], said[1:], strict=True)]
    return "; ".join([said[0], *later])


def _end(talk: Talk, number: int, parted: int | None, job: Job) -> str:
    n = len(talk.tokens[number])
    parts = [f"{n} tokens"]
    if job.ended:
        parts.append(
            "ended by the model" if talk.finished[number] else "stopped" if job.state == "cancelled" else "cut"
        )
    if number:
        parts.append("the same as the baseline so far" if parted is None else f"other from token {parted} on")
    return ", ".join(parts)
