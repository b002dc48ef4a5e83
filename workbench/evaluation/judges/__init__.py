"""One file, one way to judge replies.

A judge calls the outcome of each reply, or says that it cannot: a reply without an outcome is unjudged, and is never
counted as anything else.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from workbench.errors import UsageError
from workbench.evaluation.outcomes import Outcome
from workbench.registry import Registry
from workbench.statistics import Score


class Exchange(NamedTuple):
    """A prompt and the reply to it."""

    prompt: str
    reply: str


class Verdict(BaseModel):
    """What a judge says of one reply: its outcome (None where it is unjudged), a score from 0 to 1 where the judge
    gives one (StrongREJECT's, the probability of a classifier), and why, where that helps a reader."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome | None
    score: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Judge(ABC):
    """Calls outcomes. Subclasses are registered frozen dataclasses, whose fields are what they need to work."""

    @abstractmethod
    def __call__(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """A verdict for each exchange, in their order."""

    @property
    def agreement(self) -> Score | None:
        """Cohen's kappa with labels given by hand to replies that the judge was not made from; None where unknown."""
        return None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its verdicts, for manifests."""
        return {"name": judges.name_of(self)}


judges: Registry[type[Judge]] = Registry("judge", "workbench.evaluation.judges", "workbench.judges")


def make_judge(name: str, **options: Any) -> Judge:
    """The judge of that name, such as "phrase" or "local"; `options` are what it needs, such as who is asked.

    Raises UsageError where there is no such judge, or it needs something else.
    """
    kind = judges[name]
    try:
        return kind(**options)
    except TypeError as error:
        raise UsageError(f"The judge {name!r} cannot be made: {error}; say whom it asks with --judge-model.") from None
