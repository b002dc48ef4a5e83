"""Progress goes to whoever listens in this context, and to nobody else."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from workbench.runs import note, reporting, rich_reporter, track


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


def test_the_rich_bar_leaves_stdout_to_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with rich_reporter() as reporter, reporting(reporter):
        assert list(track([1, 2], "Capturing")) == [1, 2]
        note("plain [bold]text[/bold]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Capturing" in err
    assert "2/2" in err
    assert "plain [bold]text[/bold]" in err
