"""One file, one place to run tasks: in this process, in worker processes, on a cluster.

An engine is handed the dotted path of a function, never the function, so that any process on any machine can import
it for itself; payloads and results are plain JSON, so that a task finds and leaves the same thing wherever it runs.
"""

import importlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from workbench.errors import UsageError, WorkbenchError
from workbench.registry import Registry

TRIES = 2  # How often a task is begun, where its worker dies and takes it along.


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    why: str


Outcome = tuple[int, dict[str, Any] | Failure]


@runtime_checkable
class Engine(Protocol):
    """Runs a function on many payloads. Engines are registered frozen dataclasses, whose fields are what they need."""

    def __call__(self, function_path: str, payloads: Sequence[dict[str, Any]]) -> Generator[Outcome, None, None]:
        """The place of each payload and what came of it, as it comes.

        A task that raises a WorkbenchError, or whose worker dies, is a Failure and costs the others nothing; any other
        exception is a mistake in the function, and is raised. Closing the generator gives the workers back.
        """


engines: Registry[type[Engine]] = Registry("engine", "workbench.runs.engines", "workbench.engines")


def make_engine(name: str, **options: Any) -> Engine:
    """The engine of that name; `options` are its fields, such as `workers`.

    Raises UsageError where there is no such engine, or it has no such field.
    """
    kind = engines[name]
    try:
        return kind(**options)
    except TypeError as error:
        raise UsageError(f"The engine {name!r} cannot be made: {error}; leave out what it does not know.") from None


def load(function_path: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Import the function that "package.module:function" names."""
    module, _, name = function_path.partition(":")
    try:
        function: Callable[[dict[str, Any]], dict[str, Any]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"There is no function {function_path!r} ({error}); name it as package.module:function."
        ) from error
    return function


def attempt(function_path: str, payload: dict[str, Any]) -> dict[str, Any] | Failure:
    """Run one task where we are; every engine runs its tasks through this."""
    function = load(function_path)
    try:
        return _plain(function(_plain(payload)))
    except WorkbenchError as error:
        return Failure(str(error))


def died(workplace: str) -> Failure:
    """The failure of a task whose worker died at every try."""
    return Failure(
        f"Its {workplace} died {TRIES} times (killed, or out of memory); run again, with fewer workers where memory is "
        "short."
    )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON would hand it back, so that no engine shows a task more than another does."""
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain
