"""Progress without an argument: `for batch in track(batches, "Capturing")`.

Whoever watches sets the reporter of the current context (`reporters` has some) and no function in between has to pass
it on.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")
Advance = Callable[[int], None]


@runtime_checkable
class Reporter(Protocol):
    """Shows how far a task is."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """Open a task; the value it yields is called with the number of steps done since the last call."""

    def note(self, text: str) -> None:
        """Say one line about what happens."""


_reporter: ContextVar[Reporter | None] = ContextVar("workbench_reporter", default=None)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Report the progress of everything inside the block to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, reporting one step after each."""
    count = total if total is not None else len(items) if isinstance(items, Sized) else None
    with _listening().task(description, count) as advance:
        for item in items:
            yield item
            advance(1)


def note(text: str) -> None:
    """Tell whoever watches one line."""
    _listening().note(text)


def _listening() -> Reporter:
    """The reporter of this context; where none is set, tqdm's bars for who watches."""
    return _reporter.get() or _usual()


@cache
def _usual() -> Reporter:
    from workbench.runs.reporters import BarReporter

    return BarReporter()
