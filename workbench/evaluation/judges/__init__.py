"""One file, one way to judge a reply."""

from typing import Protocol, runtime_checkable

from workbench.evaluation.outcomes import Outcome
from workbench.registry import Registry


@runtime_checkable
class Judge(Protocol):
    """Calls the outcome of a reply to a prompt."""

    def __call__(self, prompt: str, reply: str) -> Outcome: ...


judges: Registry[Judge] = Registry("judge", "workbench.evaluation.judges", "workbench.judges")
