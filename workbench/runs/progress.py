"""Progress without an argument: `for batch in track(batches, "Capturing")`.

Whoever watches sets the reporter of the current context - a rich bar in a terminal or a notebook, a Streamlit
bar, nothing at all - and no function in between has to pass it on.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
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


class Silent:
    """The reporter that says nothing."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        return nullcontext(lambda steps: None)

    def note(self, text: str) -> None:
        return None


_SILENT = Silent()
_reporter: ContextVar[Reporter] = ContextVar("workbench_reporter", default=_SILENT)


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
    with _reporter.get().task(description, count) as advance:
        for item in items:
            yield item
            advance(1)


def note(text: str) -> None:
    """Tell whoever watches one line."""
    _reporter.get().note(text)


@contextmanager
def rich_reporter() -> Iterator[Reporter]:
    """A bar on stderr, so that stdout stays free for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, Remaining(), console=console) as progress:
        yield RichReporter(progress)


class RichReporter:
    """Draws tasks as rich progress bars."""

    def __init__(self, progress: object) -> None:
        self._progress = progress

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        progress = self._progress
        identity = progress.add_task(description, total=total)  # type: ignore[attr-defined]
        try:
            yield lambda steps: progress.advance(identity, steps)  # type: ignore[attr-defined]
        finally:
            progress.stop_task(identity)  # type: ignore[attr-defined]

    def note(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)  # type: ignore[attr-defined]
