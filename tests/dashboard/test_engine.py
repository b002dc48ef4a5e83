"""The queue and its thread, with work that stands for a model's."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from workbench.dashboard.engine import Engine, Job
from workbench.dashboard.engine.worker import MOST_EACH, MOST_WAITING
from workbench.errors import ModelError, UsageError
from workbench.runs import note, track

SOON = 5.0


class Model:
    """What the engine opens here: it says who ran on it, and in which thread."""

    def __init__(self) -> None:
        self.name = "tiny"
        self.ran: list[str] = []
        self.threads: set[int] = set()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def engine(model: Model) -> Engine:
    return Engine("fake", lambda: model).start()  # type: ignore[arg-type, return-value]


def says(name: str) -> Callable[[Any, Job], str]:
    def work(model: Model, job: Job) -> str:
        model.ran.append(name)
        model.threads.add(threading.get_ident())
        return name

    return work


class Held:
    """Work that goes on until it is let go, or cancelled."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def __call__(self, model: Model, job: Job) -> None:
        self.begun.set()
        for _ in track(iter(int, 1), "Holding"):
            if self.free.wait(0.01):
                return


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.free.set()


def test_jobs_are_served_one_at_a_time_in_their_order_by_one_thread(engine: Engine, model: Model) -> None:
    jobs = [engine.submit(str(n), f"job {n}", says(str(n))) for n in range(20)]
    assert all(job.wait(SOON) for job in jobs)
    assert [job.result for job in jobs] == model.ran == [str(n) for n in range(20)]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


def test_a_session_sees_its_place(engine: Engine, held: Held) -> None:
    first = engine.submit("a", "first", held)
    assert held.begun.wait(SOON)
    second, third = (engine.submit(name, name, says(name)) for name in ("b", "c"))
    assert [engine.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    held.free.set()
    assert third.wait(SOON)
    assert engine.ahead(third) == 0


def test_a_job_that_waits_is_cancelled_without_being_begun(engine: Engine, model: Model, held: Held) -> None:
    engine.submit("a", "first", held)
    waiting = engine.submit("b", "second", says("b"))
    waiting.cancel()
    held.free.set()
    assert waiting.wait(SOON)
    assert waiting.state == "cancelled"
    assert model.ran == []


def test_a_running_job_stops_at_its_next_step(engine: Engine, held: Held) -> None:
    job = engine.submit("a", "first", held)
    assert held.begun.wait(SOON)
    job.cancel()
    assert job.wait(SOON)
    assert job.state == "cancelled"
    assert engine.submit("a", "after", says("x")).wait(SOON)


def test_a_job_whose_session_goes_away_stops(engine: Engine, held: Held) -> None:
    there = threading.Event()
    there.set()
    job = engine.submit("a", "first", held, alive=there.is_set)
    assert held.begun.wait(SOON)
    there.clear()
    assert job.wait(SOON)
    assert job.state == "cancelled"


def test_a_known_error_fails_its_job_alone(engine: Engine) -> None:
    def fails(model: Model, job: Job) -> None:
        raise UsageError("This cannot be; write that.")

    job, other = engine.submit("a", "fails", fails), engine.submit("b", "goes on", says("b"))
    assert other.wait(SOON)
    assert (job.state, job.error, other.state) == ("failed", "This cannot be; write that.", "done")
    assert not engine.dead


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_nobody_expected_ends_the_worker_and_a_restart_goes_on(model: Model) -> None:
    opened = []

    def opener() -> Model:
        opened.append(1)
        return model

    engine = Engine("fake", opener).start()  # type: ignore[arg-type]

    def breaks(model: Model, job: Job) -> None:
        raise ZeroDivisionError("division by zero")

    job, behind = engine.submit("a", "breaks", breaks), engine.submit("b", "waits", says("b"))
    assert job.wait(SOON)
    assert job.error == "The worker stopped (ZeroDivisionError: division by zero)."
    deadline = time.monotonic() + SOON
    while not engine.dead and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.dead
    assert behind.state == "waiting"
    engine.restart()
    assert behind.wait(SOON)
    assert (behind.state, len(opened)) == ("done", 2)
    engine.restart()  # of one that lives: nothing
    assert len(opened) == 2


def test_where_the_model_cannot_be_opened_every_job_says_why() -> None:
    def opener() -> Any:
        raise ModelError("There is no such model; choose another.")

    engine = Engine("nothing", opener).start()
    job = engine.submit("a", "asks", says("a"))
    assert job.wait(SOON)
    assert (job.state, job.error) == ("failed", "There is no such model; choose another.")
    assert engine.opening.state == "failed"
    assert engine.subject is None


def test_pages_are_served_while_the_model_opens(model: Model) -> None:
    free = threading.Event()

    def opener() -> Model:
        for _ in track(range(2), "Reading weights"):
            assert free.wait(SOON)
        return model

    engine = Engine("slow", opener).start()  # type: ignore[arg-type]
    job = engine.submit("a", "asks", says("a"))
    deadline = time.monotonic() + SOON
    while engine.opening.progress is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.opening.progress is not None
    assert engine.opening.progress.description == "Reading weights"
    assert job.state == "waiting"
    free.set()
    assert job.wait(SOON)


def test_one_session_cannot_fill_the_queue(engine: Engine, held: Held) -> None:
    engine.submit("a", "first", held)
    for n in range(MOST_EACH - 1):
        engine.submit("a", str(n), says("a"))
    with pytest.raises(UsageError, match="still at work"):
        engine.submit("a", "one more", says("a"))
    assert held.begun.wait(SOON)
    for n in range(MOST_WAITING - (MOST_EACH - 1)):
        engine.submit(f"session {n}", "asks", says("b"))
    with pytest.raises(UsageError, match="wait already"):
        engine.submit("the last", "asks", says("b"))


def test_progress_is_that_of_the_innermost_task(engine: Engine) -> None:
    seen = []

    def work(model: Model, job: Job) -> None:
        for _ in track(range(3), "Outer"):
            for _ in track(range(2), "Inner"):
                assert job.progress is not None
                seen.append((job.progress.description, job.progress.done))
            assert job.progress is not None
            seen.append((job.progress.description, job.progress.share))
        note("That was all.")

    job = engine.submit("a", "counts", work)
    assert job.wait(SOON)
    assert job.state == "done", job.error
    assert seen[:4] == [("Inner", 0), ("Inner", 1), ("Outer", 0.0), ("Inner", 0)]
    assert job.notes == ["That was all."]


def test_an_ended_job_holds_nothing_of_what_it_was_made_of(engine: Engine) -> None:
    job = engine.submit("a", "asks", says("a"))
    assert job.wait(SOON)
    assert job.work is None
