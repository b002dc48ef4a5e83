"""Progress goes to whoever listens in this context, and to nobody else."""

import contextvars
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from workbench.runs import Silent, note, reporting, stderr_reporter, track
from workbench.runs.reporters import RichReporter


class Listening:
    """Writes down the tasks it is told of: [description, total, steps, open or closed]."""

    def __init__(self) -> None:
        self.tasks: list[list[object]] = []
        self.notes: list[str] = []

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        row: list[object] = [description, total, 0, "open"]
        self.tasks.append(row)

        def advance(steps: int) -> None:
            row[2] += steps  # type: ignore[operator]

        try:
            yield advance
        finally:
            row[3] = "closed"

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_nobody_listens_outside_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listening()
    with reporting(listener):
        pass
    assert list(track([1, 2, 3], "Counting")) == [1, 2, 3]
    note("hello")
    assert (listener.tasks, listener.notes) == ([], [])
    assert capsys.readouterr() == ("", "")


def test_the_total_is_known_where_it_can_be() -> None:
    listener = Listening()
    with reporting(listener):
        list(track([7, 8], "a list"))
        list(track((n for n in range(3)), "a generator"))
        list(track((n for n in range(4)), "a generator with a total", total=4))
        list(track([], "nothing"))
    assert listener.tasks == [
        ["a list", 2, 2, "closed"],
        ["a generator", None, 3, "closed"],
        ["a generator with a total", 4, 4, "closed"],
        ["nothing", 0, 0, "closed"],
    ]


def test_a_step_is_reported_when_it_is_over_and_not_before() -> None:
    listener = Listening()
    with reporting(listener):
        seen = [listener.tasks[0][2] for _ in track("abc", "Working")]
    assert seen == [0, 1, 2]


def test_the_innermost_listener_hears_and_the_outer_one_returns() -> None:
    outer, inner = Listening(), Listening()
    with reporting(outer):
        with reporting(inner):
            note("inside")
        note("outside")
    assert (inner.notes, outer.notes) == (["inside"], ["outside"])


def test_after_an_exception_the_task_is_closed_and_nobody_listens() -> None:
    listener = Listening()

    def fails() -> None:
        with reporting(listener):
            for number in track([0, 1], "Failing"):
                1 // (1 - number)

    with pytest.raises(ZeroDivisionError):
        fails()
    note("anyone?")
    assert listener.tasks[0][:3] == ["Failing", 2, 1]
    assert listener.notes == []


def test_another_thread_is_silent_unless_it_takes_the_context_along() -> None:
    listener = Listening()
    with reporting(listener):
        context = contextvars.copy_context()
        for target in (lambda: note("alone"), lambda: context.run(note, "taken along")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert listener.notes == ["taken along"]


class Terminal(io.StringIO):
    """What stderr is where a person watches."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own stderr back when a test begins."""
    monkeypatch.setattr(sys, "stderr", made := Terminal())
    return made


def test_a_command_on_a_terminal_draws_bars_and_leaves_stdout_to_the_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with stderr_reporter() as reporter, reporting(reporter):
        assert list(track([1, 2], "Capturing")) == [1, 2]
        note("plain [bold]text[/bold] " + "that is copied whole " * 9)
    assert isinstance(reporter, RichReporter)
    assert capsys.readouterr().out == ""
    for part in ("Capturing", "2/2", "plain [bold]text[/bold] " + "that is copied whole " * 9):
        assert part in terminal.getvalue()


def test_a_command_whose_stderr_is_a_file_writes_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with stderr_reporter() as reporter, reporting(reporter):
        for _ in track(range(32), "Capturing"):
            clock[0] += 1.0
        for _ in track((n for n in range(3)), "Short"):
            clock[0] += 1.0
        list(track(range(9), "Quick"))
        note("said")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [f"Capturing: {n} of 32, {n} s" for n in (10, 20, 30, 32)]
    assert err.splitlines() == [*lines, "Short: 3, 3 s", "said"]


def test_in_python_a_bar_is_drawn_of_what_takes_long_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    assert list(track(range(3), "Short")) == [0, 1, 2]
    assert terminal.getvalue() == ""
    monkeypatch.setattr("workbench.runs.reporters._SOON", 0.0)
    assert list(track(range(3), "Long")) == [0, 1, 2]
    note("said")
    assert "Long" in terminal.getvalue()
    assert terminal.getvalue().endswith("said\n")
    before = terminal.getvalue()
    with reporting(Silent()):
        list(track(range(3), "Long"))
        note("unheard")
    assert terminal.getvalue() == before


def test_in_a_notebook_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=object()))
    note("said")
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace())  # ipython in a pipe
    note("unheard")
    assert capsys.readouterr() == ("", "said\n")
