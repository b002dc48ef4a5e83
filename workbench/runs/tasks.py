"""Many independent tasks, each done once: what is stored is not run again, and one that fails costs only itself.

A task is named by the digest of everything that decides its result, and its result is a file of that name. So a run
that was stopped goes on where it was, and two sweeps share what they have in common.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.errors import RunError
from workbench.runs.engines import Engine, Failure, load
from workbench.runs.files import read_json, write_json
from workbench.runs.fingerprint import digest_json
from workbench.runs.progress import note, track


class Task(BaseModel):
    """One piece of work: what its function is given, and the digest of what decides its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern="^[0-9a-f]{64}$")
    payload: dict[str, Any]

    @classmethod
    def of(cls, function: str, payload: dict[str, Any], decided_by: Any = None) -> "Task":
        """The task of calling `function` with `payload`.

        `decided_by` stands for the payload in the key where the payload does not say what decides the result, or says
        more: the digest of a model, not the folder that it happens to be in.
        """
        return cls(key=digest_json([function, payload if decided_by is None else decided_by]), payload=payload)


@dataclass(frozen=True)
class Failed:
    """A task without a result, and why."""

    key: str
    why: str


@dataclass(frozen=True)
class TaskResults:
    """What came of tasks, by key, in the order of the tasks."""

    results: dict[str, dict[str, Any]]
    failures: dict[str, Failed]


@dataclass(frozen=True)
class TaskStore:
    """Results in a folder, one JSON file a task."""

    root: Path

    def get(self, key: str) -> dict[str, Any]:
        """The stored result of a task; a damaged file is named."""
        value = read_json(self._file(key))
        if not isinstance(value, dict):
            raise RunError(f"{self._file(key)} is damaged (it is not a JSON object); remove it and run again.")
        return value

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store the result of a task, whole or not at all."""
        write_json(self._file(key), value)

    def done(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have a result."""
        return {key for key in keys if self._file(key).exists()}

    def _file(self, key: str) -> Path:
        return self.root / f"{key}.json"


def run_tasks(function: str, tasks: Sequence[Task], store: TaskStore, engine: Engine) -> TaskResults:
    """Run through `engine` the tasks that `store` has no result of, and return the results of all.

    `function` is the dotted path ("package.module:function") of what takes a payload and returns a result, both JSON.
    Each result is stored as soon as it comes; failures are not, so that the same call tries them again.
    """
    load(function)  # A wrong path is one error, not one in each worker.
    wanted = {task.key: task for task in tasks}
    missing = _missing(wanted, store)
    failures = _run(function, missing, store, engine) if missing else {}
    return TaskResults(
        results={key: store.get(key) for key in wanted if key not in failures},
        failures={key: failures[key] for key in wanted if key in failures},
    )


def _missing(wanted: dict[str, Task], store: TaskStore) -> list[Task]:
    """The tasks without a result; those with one are read, so that a damaged file is named before the work begins."""
    done = store.done(wanted)
    for key in done:
        store.get(key)
    if done:
        note(f"{len(done)} of {len(wanted)} tasks were done before.")
    return [task for key, task in wanted.items() if key not in done]


def _run(function: str, tasks: list[Task], store: TaskStore, engine: Engine) -> dict[str, Failed]:
    """Run tasks, store what they return, and hand back those that failed."""
    failures = {}
    # Closed at once when we are stopped, so that no worker goes on with what nobody waits for.
    with closing(engine(function, [task.payload for task in tasks])) as outcomes:
        for index, outcome in track(outcomes, "Running tasks", len(tasks)):
            key = tasks[index].key
            if isinstance(outcome, Failure):
                failures[key] = Failed(key, outcome.why)
            else:
                store.put(key, outcome)
    return failures
