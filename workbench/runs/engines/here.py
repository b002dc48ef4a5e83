"""Here: in this process, one task after the other.

It needs nothing and keeps loaded models between tasks, but a task that kills its process kills us.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.runs.engines import Outcome, attempt, engines


@engines.register("here")
@dataclass(frozen=True)
class Here:
    """Runs tasks in this process."""

    def __call__(self, function_path: str, payloads: Sequence[dict[str, Any]]) -> Generator[Outcome, None, None]:
        for index, payload in enumerate(payloads):
            yield index, attempt(function_path, payload)
