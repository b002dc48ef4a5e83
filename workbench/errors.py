"""The exception tree.

    WorkbenchError                exit status 1: something failed, and the sentence says what to do
    ├── UsageError                exit status 2: the request itself is wrong
    │   ├── PromptError           prompt sets and conversations
    │   ├── DirectionError        directions and readouts
    │   ├── RecipeError           edits, placements and recipes
    │   ├── ConceptError          concept sets and bottlenecks
    │   ├── ProbeError            what a probe cannot be fitted to
    │   └── LensError             a lens of another model, or of a place or a token that it does not read
    ├── ModelError                weights, templates, devices
    ├── CaptureError              activations
    ├── SearchError               no direction could be chosen, or nothing was left to choose from
    ├── RunError                  run folders and caches on disk
    └── Stopped                   exit status 130: Ctrl-C

Each message is one sentence or two for a person: what was expected, what came, what to do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_fault(error: "ValidationError") -> str:
    """Where a value that was read has its first fault, and which."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]


class WorkbenchError(Exception):
    """Base of every error the workbench raises on purpose."""

    exit_status = 1


class UsageError(WorkbenchError):
    """The request cannot be carried out as it was put."""

    exit_status = 2


class PromptError(UsageError):
    """A prompt set or a conversation cannot be used."""


class DirectionError(UsageError):
    """A direction is not finite, or belongs to another model or width."""


class RecipeError(UsageError):
    """A recipe names a place or an edit that is not there, or its edit never ran."""


class ConceptError(UsageError):
    """A concept set cannot be learned from, or a bottleneck belongs to another model."""


class ProbeError(UsageError):
    """A probe cannot be fitted to these activations."""


class LensError(UsageError):
    """A lens belongs to another model, or does not read what is asked for."""


class ModelError(WorkbenchError):
    """A model cannot be found, read or trusted."""


class CaptureError(WorkbenchError):
    """Activations could not be captured."""


class SearchError(WorkbenchError):
    """A search could not choose a direction."""


class RunError(WorkbenchError):
    """A run folder or a cache cannot be read or written."""


class Stopped(WorkbenchError):  # noqa: N818
    """A person stopped the command."""

    exit_status = 130
