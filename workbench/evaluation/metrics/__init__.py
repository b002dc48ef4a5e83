"""One file, one way to measure what an edit changed.

A metric looks at a model under one recipe and gives a value for each item - a prompt, a question, a text - that it
looked at. Means and rates over the items, their intervals, and the paired differences between recipes follow from
these values alone, so that every number of a run can be derived again from what it wrote down.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from workbench.errors import UsageError
from workbench.generation import Replies, generate
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.registry import Registry
from workbench.runs import note
from workbench.statistics import Better


@dataclass(frozen=True)
class Measure:
    """One number that a metric gives for each item: a `rate` of yes and no (1 and 0), or a `mean`, in `unit`.

    A `distance` is one from the baseline itself, so that the baseline's is 0 and no test against it means anything: it
    is compared with the random control's.
    """

    name: str
    kind: Literal["rate", "mean"]
    better: Better
    unit: str
    says: str
    distance: bool = False


class Item(BaseModel):
    """The values of one item, by measure; None where it has none. `series` holds what a figure draws, by name.

    `key` says which item it is, whichever recipe it was measured under: a prompt's digest, a question's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    values: dict[str, float | None]
    series: dict[str, list[float]] = {}


class Observed(BaseModel):
    """All items of one metric under one condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: str
    metric: str
    items: tuple[Item, ...]


@dataclass
class Ground:
    """What metrics stand on: the subject, the sets of prompts by name, and settings.

    `refusal_tokens` begin refusals: those of a search, or such as the refusal metric found. `memo` keeps what the
    unedited model has to be asked but once, such as its own replies.
    """

    subject: Subject
    sets: dict[str, Prompts]
    batch_size: int = 32
    max_new_tokens: int = 64
    seed: int = 0
    refusal_tokens: tuple[int, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict)

    def own_replies(self, asked: str, tokens: int) -> Replies:
        """The unedited model's greedy replies to a set, of at most `tokens` tokens: said once, and kept."""
        key = f"own replies/{asked}/{tokens}"
        if key not in self.memo:
            note(f"The unedited model's own replies to {len(self.sets[asked])} {asked} prompts")
            self.memo[key] = generate(self.subject, self.sets[asked], max_new_tokens=tokens, batch_size=self.batch_size)
        found: Replies = self.memo[key]
        return found


@dataclass(frozen=True)
class Metric(ABC):
    """A way to measure. Subclasses are registered frozen dataclasses; their fields are their settings."""

    measures: ClassVar[tuple[Measure, ...]]

    def measured(self) -> Sequence[Measure]:
        """What the values of its items mean."""
        return self.measures

    @abstractmethod
    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        """The values of every item under `recipe`; deterministic, and in the same order under every recipe."""

    def missing(self, ground: Ground) -> str:
        """Why it cannot be measured here, such as data that is not at hand; empty where it can."""
        return ""

    @property
    def seen(self) -> frozenset[str]:
        """The digests of prompts that anything it holds was made from: it is not measured on these."""
        return frozenset()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its values, for manifests: its name and its fields."""
        held = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: value for name, value in held.items() if isinstance(value, str | int | float | None)}
        listed = {name: list(value) for name, value in held.items() if isinstance(value, tuple)}
        return {"name": metrics.name_of(self)} | plain | listed


metrics: Registry[type[Metric]] = Registry("metric", "workbench.evaluation.metrics", "workbench.metrics")


def metric_by_name(name: str) -> Metric:
    """The metric of that name; UsageError where there is none, or a name alone does not say what it measures."""
    found = metrics[name]()
    if not found.measured():
        raise UsageError(f"The metric {name!r} needs more than its name; it cannot be asked for by --metric.")
    return found
