"""Directions at hand, by name: the one that ships with the embedded model, and those of earlier runs.

Written recipes from the browser name directions by these names alone; nothing they say is taken for a path.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import DirectionError
from workbench.runs.folder import RunFolder, list_runs

if TYPE_CHECKING:
    from workbench.directions import Asset
    from workbench.directions.asset import Watchable
    from workbench.interventions import Recipe
    from workbench.models import Subject

DATA = Path(__file__).parent / "data"
SHIPPED = {"refusal": DATA / "refusal.safetensors"}
FILE = "direction.safetensors"
_MOST = 100  # of runs
_HELD = 32  # in memory


@dataclass(frozen=True)
class Shelved:
    """A direction's name, its file, where it comes from, and the site and the digest of the model that it is of."""

    name: str
    path: Path
    origin: str
    site: str
    model: str


def shelf(model: str | None = None) -> Mapping[str, Shelved]:
    """What is at hand for the model of this digest, newest runs first; of every model where none is given."""
    files = [(name, path, "ships with the workbench") for name, path in SHIPPED.items()]
    for run in reversed(list_runs()[-_MOST:]):
        if run.done and (run.path / FILE).is_file():
            files.append((name_of(run), run.path / FILE, run.path.name))
    found = [Shelved(*each, *_said(each[1])) for each in files]
    return {each.name: each for each in found if each.model and model in (None, each.model)}


def load(name: str) -> "Asset":
    """The direction of this name. Raises DirectionError where there is none."""
    known = shelf()
    if name not in known:
        raise DirectionError(f"There is no direction called {name!r} here; there are: {', '.join(known) or 'none'}.")
    path = known[name].path
    return _loaded(path, path.stat().st_mtime_ns)


def name_of(run: RunFolder) -> str:
    """What the direction of a run is called here."""
    return f"{run.manifest.command}-{run.manifest.identity[:8]}"


def path_of(name: str) -> Path:
    """Its file."""
    return shelf()[name].path


def places(model: str | None) -> dict[str, str]:
    """The names at hand for a model, each with the site it was found at."""
    return {name: each.site for name, each in shelf(model).items()}


def watched(subject: "Subject", names: Mapping[str, str]) -> "dict[str, Watchable]":
    """What is read while the model talks, by the names it is shown under."""
    from workbench.directions.asset import Watchable

    found = {shown: load(name) for shown, name in names.items()}
    return {shown: asset for shown, asset in found.items() if isinstance(asset, Watchable)}


def read(text: str) -> "Recipe":
    """A recipe of its written form, in which names are those of the shelf."""
    from workbench.interventions import Recipe, parse_recipe

    return parse_recipe(text, load) if text.strip() else Recipe()


def _said(path: Path) -> tuple[str, str]:
    """Site and model of a direction's file, without its tensors and without torch; empty where it says neither."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=10 * _HELD)
def _read(path: Path, written: int) -> tuple[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as opened:
            said = json.loads((opened.metadata() or {}).get("direction", "{}"))
        return str(said["site"]), str(said["model_digest"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return "", ""


@lru_cache(maxsize=_HELD)
def _loaded(path: Path, written: int) -> "Asset":
    from workbench.directions import load_asset

    return load_asset(path)
