"""Recorded runs, as the page of runs reads them: scores, changes, the replies that were kept, and every item's value.

The shapes here are the light twins of those that the evaluation writes, for a page is open before torch is.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workbench.dashboard.parts.scores import Differences, Scores, read_differences, split
from workbench.runs import RunFolder
from workbench.runs.manifest import RunManifest
from workbench.statistics import Difference, Score, gap_interval, holm, paired_difference

REPLIES, OBSERVED, BASELINE = "replies.jsonl", "observations.jsonl", "baseline"
SAFE, REFUSE = ("harmless", "looks-harmful"), "refuse"
CONTROLS = ("random", "shuffled", "wrong")
_MEASURED_BY = {"refusal": "refuse", "compliance": "comply", "evasion": "evade", "broken": "broken"}
Values = dict[str, float]


class Reply(BaseModel):
    """One reply and its outcome, where a judge called it."""

    prompt: str
    digest: str
    reply: str
    outcome: str | None


class Part(BaseModel):
    """All replies of one condition to one set."""

    condition: str
    asked: str
    replies: tuple[Reply, ...]

    def may_be_shown(self, reply: Reply) -> bool:
        """Whether a reply may be shown to whoever opens the page: a refusal, or an answer to a harmless prompt."""
        return self.asked in SAFE or reply.outcome == REFUSE


class Item(BaseModel):
    """What was measured of one prompt, question or text."""

    key: str
    values: dict[str, float | None]


class Observed(BaseModel):
    """A metric under a condition."""

    condition: str
    metric: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Recorded:
    """A run by its name, which is its folder's, with what its manifest says."""

    path: Path
    manifest: RunManifest

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def scores(self) -> Scores:
        return {score.name: score for score in self.manifest.scores}

    def changes(self) -> Differences:
        """Changes from the run's own baseline, as it corrected them. RunError where its results are damaged."""
        found = RunFolder(self.path, self.manifest).results() if self.manifest.status == "done" else {}
        evaluation = found.get("evaluation", found)
        rows = evaluation.get("differences", []) if isinstance(evaluation, dict) else []
        return read_differences(rows)

    def parts(self) -> tuple[Part, ...]:
        """The replies that it kept. RunError where they are damaged."""
        return _read(self.path / REPLIES, _written(self.path / REPLIES), Part)

    def values(self, condition: str, measure: str) -> Values:
        """The value of each item by its key; empty where the run did not keep them."""
        group, _, name = measure.partition("/")
        for part in self.parts() if name in _MEASURED_BY else ():
            if (part.condition, part.asked) == (condition, group):
                judged = [reply for reply in part.replies if reply.outcome is not None]
                return {reply.digest: float(reply.outcome == _MEASURED_BY[name]) for reply in judged}
        observed: tuple[Observed, ...] = _read(self.path / OBSERVED, _written(self.path / OBSERVED), Observed)
        items = [i for o in observed if (o.condition, o.metric) == (condition, group) for i in o.items]
        return {item.key: value for item in items if (value := item.values.get(name)) is not None}


@dataclass(frozen=True)
class Apart:
    """How far a score of a run lies from that of another, and whether the same items were asked."""

    score: Score
    paired: Difference | None

    @property
    def how(self) -> str:
        if self.paired is None:
            return "other items; intervals put together"
        return f"the same {self.paired.n} items; {self.paired.test}"


def apart(first: Recorded, other: Recorded, measure: str) -> dict[str, Apart]:
    """`other` less `first` in each condition that both measured: item by item where they asked the same ones.

    Paired differences are Holm-corrected over the conditions.
    """
    found: dict[str, Apart] = {}
    both = [c for c, m in map(split, first.scores) if m == measure and _named(c, m) in other.scores]
    paired = {condition: pair for condition in both if (pair := _paired(first, other, condition, measure)) is not None}
    corrected = dict(zip(paired, holm(list(paired.values())), strict=True)) if paired else {}
    for condition in both:
        one, two = (run.scores[_named(condition, measure)] for run in (first, other))
        pair = corrected.get(condition)
        if pair is None:
            (low, high), value, n = gap_interval(one, two), two.value - one.value, min(one.n, two.n)
        else:
            value, low, high, n = pair.value, pair.low, pair.high, pair.n
        found[condition] = Apart(Score(name=condition, value=value, low=low, high=high, n=n), pair)
    return found


def _named(condition: str, measure: str) -> str:
    return f"{condition}/{measure}" if condition else measure


def _paired(first: Recorded, other: Recorded, condition: str, measure: str) -> Difference | None:
    before, after = (run.values(condition, measure) for run in (first, other))
    both = [key for key in before if key in after]
    if not both:
        return None
    shares = measure.rpartition("/")[2] in _MEASURED_BY
    return paired_difference(
        condition, [before[key] for key in both], [after[key] for key in both], "rate" if shares else "mean"
    )


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=16)
def _read(path: Path, written: int, shape: Any) -> tuple[Any, ...]:
    """The rows of a journal; `written` makes a file that was changed another one."""
    return tuple(RunFolder.open(path.parent).journal(path.name, shape))
