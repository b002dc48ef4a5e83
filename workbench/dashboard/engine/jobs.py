"""A job: work for the model's thread, that one session waits for.

    waiting -> running -> done | cancelled | failed

It is cancelled by its session, or by the session being gone. Work that tracks its progress is stopped at its next
step; work that streams looks at `cancelled` itself, at every token.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import WorkbenchError
from workbench.runs import reporting

if TYPE_CHECKING:
    from workbench.models import Subject

State = Literal["waiting", "running", "done", "cancelled", "failed"]
_SAID = 20  # notes that are kept


class JobCancelled(BaseException):
    """Nobody waits for the running job any more. Like Ctrl-C it is no Exception, so that nothing swallows it."""


@dataclass
class Progress:
    """How far a job's newest task is; `total` is None where nobody knows."""

    description: str
    done: int = 0
    total: int | None = None

    @property
    def share(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(eq=False)
class Job:
    """`work(subject, job)` is called in the model's thread, once; pages read `state`, `progress`, `notes`, `error`.

    `owner` is the session it belongs to, and `alive` says whether that session is still there.
    """

    owner: str
    title: str
    work: "Callable[[Subject, Job], Any] | None"
    alive: Callable[[], bool] = lambda: True
    state: State = "waiting"
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)
    result: Any = None
    error: str = ""
    _cancel: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __repr__(self) -> str:
        return f"Job({self.title}, {self.state})"

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether it was called off, or nobody is there to see it."""
        return self._cancel.is_set() or not self.alive()

    def cancel(self) -> None:
        """Call it off, from any thread."""
        self._cancel.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; whether it has."""
        return self._ended.wait(seconds)

    def check(self) -> None:
        """Raise JobCancelled where nobody waits any more."""
        if self.cancelled:
            raise JobCancelled

    def run(self, subject: "Subject") -> None:
        """Do the work. What is nobody's mistake is let through, so that the worker dies of it and says so."""
        self.state, work, self.work = "running", self.work, None  # what the work holds is let go with it
        end: State = "failed"
        try:
            self.check()
            with reporting(_Reporter(self)):
                self.result = work(subject, self) if work is not None else None
            end = "cancelled" if self._cancel.is_set() else "done"
        except JobCancelled:
            end = "cancelled"
        except WorkbenchError as error:
            self.error = str(error)
        except BaseException as error:
            self.error = f"The worker stopped ({type(error).__name__}: {error})."
            raise
        finally:
            self.end(end)

    def end(self, state: State, error: str = "") -> None:
        """Mark it as ended."""
        self.work = None
        self.error, self.state = error or self.error, state
        self._ended.set()


@dataclass(frozen=True)
class _Reporter:
    """Writes progress into a job, and stops it between two steps."""

    job: Job

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        outer, mine = self.job.progress, Progress(description, 0, total)
        self.job.progress = mine

        def advance(steps: int) -> None:
            mine.done += steps
            self.job.check()

        yield advance
        self.job.progress = outer

    def note(self, text: str) -> None:
        self.job.notes[:] = [*self.job.notes, text][-_SAID:]
        self.job.check()
