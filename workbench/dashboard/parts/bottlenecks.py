"""Bottlenecks at hand: finished `concepts train` runs of the model that is open, and recipes that name their concepts.

A page names a concept and never a file: what a name stands for is looked up in the bottleneck that was chosen.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import RunError
from workbench.runs.folder import list_runs

if TYPE_CHECKING:
    from workbench.concepts import Bottleneck, ConceptHandle
    from workbench.interventions import Recipe

COMMAND, _FILE = "concepts train", "bottleneck.safetensors"
_HELD = 2  # in memory
# How a concept is changed: the edit, its control, and what the command line calls it.
HOW = {
    "amplify": ("amplify-concept", "strength", "--amplify"),
    "set": ("set-concept", "value", "--set"),
    "suppress": ("suppress-concept", "strength", "--suppress"),
}


@dataclass(frozen=True)
class AtHand:
    """A trained bottleneck: where it is, what it was trained on, the concepts it knows, and what was measured."""

    name: str
    path: Path
    site: str
    concepts_digest: str
    names: tuple[str, ...]
    results: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.site}, {len(self.names)} concepts ({self.name})"

    def load(self) -> "Bottleneck":
        """Its tensors; in the model's thread."""
        path = self.path / _FILE
        return _loaded(path, path.stat().st_mtime_ns)

    def concept(self, name: str) -> "ConceptHandle":
        """A known concept by its name."""
        return self.load().concept(name)

    def read(self, text: str) -> "Recipe":
        """A written recipe, in which names are those of its concepts."""
        from workbench.interventions import Recipe, parse_recipe

        return parse_recipe(text, self.concept) if text.strip() else Recipe()


@dataclass(frozen=True)
class Turned:
    """One concept, how it is changed, and by how much."""

    concept: str
    how: str
    amount: float

    def at(self, site: str) -> str:
        """Its written form."""
        edit, control, _ = HOW[self.how]
        name = self.concept if re.fullmatch(r"[\w.\-]+", self.concept) else f'"{self.concept}"'
        return f"{edit}({name}, {control}={self.amount:g}) @ {site}"

    @property
    def option(self) -> str:
        """The same as an option of `workbench concepts steer`."""
        return f"{HOW[self.how][2]} {shlex.quote(f'{self.concept}={self.amount:g}')}"


def written(turned: Sequence[Turned], site: str) -> str:
    """The recipe of several."""
    return " + ".join(each.at(site) for each in turned)


def bottlenecks(model: str | None) -> list[AtHand]:
    """Those of the model of this digest, newest first; none where no model is open."""
    runs = [run for run in reversed(list_runs()) if run.done and run.manifest.command == COMMAND]
    found = []
    for run in runs:
        if run.manifest.model.get("digest") != model or not (run.path / _FILE).is_file():
            continue
        try:
            results = run.results()
            names, site = tuple(results["typical"]), str(results["site"])
        except (RunError, KeyError, TypeError):
            continue  # the page of runs says what is wrong with it
        found.append(AtHand(run.path.name, run.path, site, run.manifest.data.get("concepts", ""), names, results))
    return found


@lru_cache(maxsize=_HELD)
def _loaded(path: Path, at: int) -> "Bottleneck":
    from workbench.concepts import Bottleneck

    return Bottleneck.load(path)
