"""joblib: in worker processes of this machine.

A worker that dies breaks the whole pool, and with it every task that the pool had been handed, whosever fault it was.
So those tasks have their second try alone: who dies alone has only itself to blame. The rest go on in a new pool.

loky replaces a worker that has grown by 300 MB, as one that opens another model does, and says so by a warning from its
own thread. Where warnings are errors that thread would die of it, and nobody would ever hear of the tasks again: that
one warning is ignored while tasks run.

The cores are shared out among the workers (joblib sets OMP_NUM_THREADS in each, unless it is set already).
"""

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from workbench.errors import UsageError
from workbench.runs.engines import Failure, Outcome, attempt, died, engines
from workbench.runs.progress import reporting
from workbench.runs.reporters import Silent

Numbered = tuple[int, dict[str, Any]]


@engines.register("joblib")
@dataclass(frozen=True)
class Local:
    """Runs tasks in `workers` processes."""

    workers: int = 2

    def __post_init__(self) -> None:
        # With one worker joblib would stay in this process, where a task that dies takes us along.
        if self.workers < 2:
            raise UsageError(f"joblib needs 2 workers or more, not {self.workers}; the engine for one is 'here'.")

    def __call__(self, function_path: str, payloads: Sequence[dict[str, Any]]) -> Generator[Outcome, None, None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield from self._all(function_path, dict(enumerate(payloads)))

    def _all(self, function_path: str, waiting: dict[int, dict[str, Any]]) -> Iterator[Outcome]:
        """Outcomes of all that is waiting; a broken pool is followed by another."""
        while waiting:
            handed: list[int] = []
            try:
                for index, outcome in self._pooled(function_path, _handing(list(waiting.items()), handed)):
                    del waiting[index]
                    yield index, outcome
            except BrokenProcessPool:
                for index in [index for index in handed if index in waiting]:
                    yield index, self._alone(function_path, waiting.pop(index))

    def _alone(self, function_path: str, payload: dict[str, Any]) -> dict[str, Any] | Failure:
        """The last try of a task that was in a pool when it broke."""
        try:
            return next(self._pooled(function_path, [(0, payload)]))[1]
        except BrokenProcessPool:
            return died("worker process")

    def _pooled(self, function_path: str, numbered: Iterable[Numbered]) -> Iterator[Outcome]:
        """Outcomes as they come; no task is handed over before a worker is free for it."""
        from joblib import Parallel, delayed

        parallel = Parallel(
            n_jobs=self.workers,
            backend="loky",
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
        )
        outcomes: Iterator[Outcome] = parallel(delayed(_attempt)(function_path, one) for one in numbered)
        return outcomes


def _handing(numbered: list[Numbered], handed: list[int]) -> Iterator[Numbered]:
    """Pass tasks on, noting which have been taken."""
    for index, payload in numbered:
        handed.append(index)
        yield index, payload


def _attempt(function_path: str, numbered: Numbered) -> Outcome:
    """One task, with its number: results come in any order. Who watches is told of whole tasks, not by the workers."""
    with reporting(Silent()):
        return numbered[0], attempt(function_path, numbered[1])
