"""Earlier results that pages open on: those that ship with the workbench, and the runs of this folder.

A shipped result is a JSON file of `data`, distilled from a run of the embedded model by `experiments/ship.py`:
{"source": {command, model, versions, started, n..}, ...}. None holds a reply that complies with a harmful request.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.dashboard.shelf import DATA
from workbench.errors import RunError
from workbench.runs.folder import RunFolder, list_runs

SHIPPED = "ships with the workbench"


@dataclass(frozen=True)
class Source:
    """One result of a kind: its name on the page, and its folder; none where it ships."""

    name: str
    folder: Path | None = None


def shipped(kind: str) -> dict[str, Any]:
    """A result that ships. RunError where there is none."""
    path = DATA / f"{kind}.json"
    if not path.is_file():
        raise RunError(f"No result of {kind} ships with this workbench; install it again.")
    found: dict[str, Any] = _read(path)
    return found


def sources(*commands: str, kind: str | None = None) -> list[Source]:
    """The shipped result of `kind`, and finished runs of these commands, newest first."""
    found = [
        Source(run.path.name, run.path)
        for run in reversed(list_runs())
        if run.done and run.manifest.command in commands
    ]
    return [Source(SHIPPED)] * (kind is not None and (DATA / f"{kind}.json").is_file()) + found


def results(source: Source, kind: str) -> dict[str, Any]:
    """What a source holds. RunError where a run is half-written, damaged, or of a newer workbench."""
    return shipped(kind) if source.folder is None else RunFolder.open(source.folder).results()


@lru_cache(maxsize=16)
def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
