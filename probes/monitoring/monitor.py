"""A monitor: what a probe reads while the model talks, and what is done about it.

1. At every token the probe is read at the position that the token was chosen from: the first time before a word is
   said, and each time after any edit, so that an attack from inside is seen as the probe sees it.
2. The first time that a reply's coordinate is above the threshold is its alarm, and the monitor acts on that reply
   alone: it warns, stops it, or switches on a recipe from the next token on.

What is read on the prompt costs nothing beyond the pass that answers it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from probes.linear.reading import separation_of
from workbench.directions.asset import Watchable
from workbench.display import Shown
from workbench.errors import UsageError
from workbench.generation import Reply, stream
from workbench.generation.streaming import Stream
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.runs import track
from workbench.statistics import Score, rate_score

if TYPE_CHECKING:
    import pandas

_NAME = "monitor"


@runtime_checkable
class Action(Protocol):
    """What is done about a reply, once, at its alarm."""

    def __call__(self, tokens: Stream, row: int) -> None: ...


@dataclass(frozen=True)
class Warn:
    """Nothing: the alarm is on record, and the reply goes on."""

    def __call__(self, tokens: Stream, row: int) -> None:
        return


@dataclass(frozen=True)
class Stop:
    """End the reply before the token at which the alarm was raised."""

    def __call__(self, tokens: Stream, row: int) -> None:
        tokens.stop(row)


@dataclass(frozen=True)
class Switch:
    """Use a recipe from the next token on."""

    recipe: Recipe

    def __call__(self, tokens: Stream, row: int) -> None:
        tokens.change(self.recipe, row)


@dataclass(frozen=True)
class Monitor:
    """A probe, direction or concept, the coordinate above which it raises an alarm, and what is done then."""

    reads: Watchable
    threshold: float
    action: Action = Warn()

    def __post_init__(self) -> None:
        if not isfinite(self.threshold):
            raise UsageError(f"A monitor's threshold is a finite coordinate, not {self.threshold}.")


@dataclass(frozen=True)
class MonitoredReply:
    """A reply, the coordinate at each of its tokens, and the token at which there was an alarm (0: before a word)."""

    reply: Reply
    coordinates: tuple[float, ...]
    alarm: int | None


@dataclass(frozen=True)
class MonitoredReplies(Sequence[MonitoredReply], Shown):
    """Monitored replies in the order of the prompts."""

    items: tuple[MonitoredReply, ...]
    threshold: float

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __repr__(self) -> str:
        return f"MonitoredReplies({len(self)}, {sum(each.alarm is not None for each in self)} with an alarm)"

    def alarms(self, within: int | None = None) -> Score:
        """The share of replies with an alarm; `within` the first so many tokens (1: before a word is said)."""
        found = [each.alarm is not None and (within is None or each.alarm < within) for each in self]
        return rate_score("alarms", sum(found), len(found))

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a reply: its prompt, what it says, its largest coordinate, and the token of its alarm."""
        import pandas

        columns = ["prompt", "reply", "largest", "alarm"]
        rows = [(e.reply.prompt.text, e.reply.text, max(e.coordinates, default=None), e.alarm) for e in self]
        return pandas.DataFrame(rows, columns=columns)

    def plot(self, labels: Sequence[str] | None = None) -> Any:
        """The coordinate token by token, a line a reply, and the threshold."""
        from workbench.plots.monitor import monitor_figure

        lines = [each.coordinates for each in self]
        return monitor_figure(lines, labels or [each.reply.prompt.text for each in self], self.threshold)


def monitored(
    subject: Subject,
    prompts: Prompts,
    monitor: Monitor,
    recipe: Recipe | None = None,
    *,
    max_new_tokens: int = 32,
    batch_size: int = 16,
) -> MonitoredReplies:
    """Replies to `prompts` under a recipe and a monitor's eye.

    Raises DirectionError where what the monitor reads is of another model.
    """
    starts = range(0, len(prompts), batch_size)
    found = [
        each
        for start in track(starts, "Monitoring")
        for each in _batch(subject, prompts[start : start + batch_size], monitor, recipe, max_new_tokens)
    ]
    return MonitoredReplies(tuple(found), monitor.threshold)


def _batch(
    subject: Subject, prompts: Prompts, monitor: Monitor, recipe: Recipe | None, n: int
) -> Iterator[MonitoredReply]:
    read: list[list[float]] = [[] for _ in prompts]
    alarms: dict[int, int] = {}
    watch = {_NAME: monitor.reads}
    with stream(subject, prompts, recipe, max_new_tokens=n, watch=watch, sureness=False) as tokens:
        for token in tokens:
            value = token.watched[_NAME]
            read[token.row].append(value)
            if value > monitor.threshold and token.row not in alarms:
                alarms[token.row] = token.index
                monitor.action(tokens, token.row)
    for row, reply in enumerate(tokens.replies()):
        yield MonitoredReply(reply, tuple(read[row]), alarms.get(row))


def separation(one: MonitoredReplies, other: MonitoredReplies, seed: int = 0) -> Score:
    """The AUROC of `one` against `other` of what is read before a word is said, whatever the threshold is.

    Its interval draws topics, as a probe's does.
    """
    ours, theirs = (np.array([each.coordinates[0] for each in side]) for side in (one, other))
    prompts = Prompts(tuple(each.reply.prompt for side in (one, other) for each in side), "both")
    return separation_of("AUROC", ours, theirs, prompts, seed)


def plot_first_reads(sides: Mapping[str, MonitoredReplies]) -> Any:
    """What is read before a word is said, on each side, and the threshold of the first."""
    from workbench.plots.monitor import first_reads_figure

    reads = {name: [each.coordinates[0] for each in side] for name, side in sides.items()}
    return first_reads_figure(reads, next(iter(sides.values())).threshold)
