"""Who shows progress: bars of a terminal for a command, lines where its stderr is a file, tqdm's bars in Python.

with reporting(Silent()): ...      shows nothing
"""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from workbench.runs.progress import Advance, Reporter

if TYPE_CHECKING:
    from rich.progress import Progress

_SOON = 2.0  # seconds: what is over before is not shown
_PACE = 10.0  # seconds between two lines


class Silent:
    """The reporter that says nothing."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        return nullcontext(lambda steps: None)

    def note(self, text: str) -> None:
        return None


class BarReporter:
    """tqdm's bars, in a notebook or on a terminal, of what takes more than two seconds; elsewhere nothing.

    It reports wherever nobody set another one: in Jupyter, and in scripts.
    """

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        if not _watched():
            yield lambda steps: None
            return
        with _tqdm()(total=total, desc=description, delay=_SOON, leave=False) as bar:
            yield bar.update

    def note(self, text: str) -> None:
        if _watched():
            _tqdm().write(text, file=sys.stderr)


class LineReporter:
    """A line on stderr every ten seconds, for a log file, in which a bar cannot be drawn over."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        begun = said = time.monotonic()
        done = told = 0

        def advance(steps: int) -> None:
            nonlocal done, said, told
            done += steps
            if (now := time.monotonic()) - said >= _PACE:
                said, told = now, done
                self.note(_line(description, done, total, now - begun))

        yield advance
        if (taken := time.monotonic() - begun) >= _SOON and told < done:
            self.note(_line(description, done, total, taken))

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class RichReporter:
    """Draws tasks as rich progress bars."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        progress = self._progress
        identity = progress.add_task(description, total=total)
        try:
            yield lambda steps: progress.advance(identity, steps)
        finally:
            progress.stop_task(identity)

    def note(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stderr_reporter() -> Iterator[Reporter]:
    """Bars on stderr, or lines where it is no terminal, so that stdout stays free for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineReporter()
        return
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, Remaining(), console=console) as progress:
        yield RichReporter(progress)


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    return f"{description}: {done}{'' if total is None else f' of {total}'}, {seconds:.0f} s"


def _watched() -> bool:
    """Whether a person sees what is drawn on stderr: a notebook's kernel, or a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None or sys.stderr.isatty()


@cache
def _tqdm() -> Any:
    """The bar that fits the place; a notebook without widgets has one of text, and needs no advice about it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
