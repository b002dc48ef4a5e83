"""One thread that owns the model and serves a queue, first come, first served.

The model is opened by the thread itself, as its first job, while pages are already in use. A job that fails by a known
error fails alone. Anything else ends the thread: the jobs behind it keep their places, and `restart` goes on with them,
with a model that is opened anew, for nobody knows what the old one is left in.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workbench.dashboard.engine.jobs import Job
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.models import Subject

MOST_WAITING = 64
MOST_EACH = 2  # jobs of one session at a time


class Engine:
    """Serves jobs with one model, which `opener` opens."""

    def __init__(self, name: str, opener: "Callable[[], Subject]") -> None:
        self._name = name
        self._opener = opener
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._subject: Subject | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.opening = self._opens()

    @property
    def subject(self) -> "Subject | None":
        """The model, once it is open. Only a job may run it; pages may ask it for its name and its size."""
        return self._subject

    @property
    def name(self) -> str:
        """The model's name: what it was asked for by, until it is open."""
        return self._name if self._subject is None else self._subject.name

    @property
    def dead(self) -> bool:
        """Whether the thread has ended and must be started again."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._queue)

    def start(self) -> "Engine":
        """Begin to serve, and to open the model; nothing where that was done before."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="workbench-engine", daemon=True)
                self._thread.start()
        return self

    def restart(self) -> None:
        """After a death: open the model again, and go on with the jobs that wait."""
        with self._changed:
            if self.dead:
                self._thread, self._running, self._subject, self.opening = None, None, None, self._opens()
        self.start()

    def submit(
        self, owner: str, title: str, work: "Callable[[Subject, Job], Any]", alive: Callable[[], bool] = lambda: True
    ) -> Job:
        """Queue work for the model. Raises UsageError where the session, or everybody, has enough waiting already."""
        with self._changed:
            mine = sum(job.owner == owner and not job.cancelled for job in self._all())
            if mine >= MOST_EACH:
                raise UsageError("Your last request is still at work; wait for it, or stop it.")
            if len(self._queue) >= MOST_WAITING:
                raise UsageError(f"{MOST_WAITING} requests wait already; try again in a while.")
            job = Job(owner, title, work, alive)
            self._queue.append(job)
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs stand before this one, the running one among them; 0 where it runs or has ended."""
        with self._changed:
            every = self._all()
            return every.index(job) if job in every else 0

    def _all(self) -> list[Job]:
        running = [] if self._running is None or self._running.ended else [self._running]
        return [*running, *self._queue]

    def _opens(self) -> Job:
        return Job("", "Opening the model", None)

    def _serve(self) -> None:
        self._open()
        while True:
            job = self._next()
            if job.cancelled:
                job.end("cancelled")
            elif self._subject is None:
                job.end("failed", self.opening.error)
            else:
                job.run(self._subject)
            del job  # nor what it holds, while the thread waits

    def _open(self) -> None:
        def work(nobody: Any, job: Job) -> None:
            self._subject = self._opener()

        self.opening.work = work
        self.opening.run(None)  # type: ignore[arg-type]

    def _next(self) -> Job:
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._queue)
            self._running = self._queue.popleft()
            return self._running
