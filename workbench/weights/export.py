"""An export: a form in which an edit leaves the workbench, and can be used without it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.registry import Registry
from workbench.weights.edit import WeightEdit

exports: "Registry[type[Export]]" = Registry("export format", "workbench.weights.exports", "workbench.exports")


@dataclass(frozen=True)
class Export(ABC):
    """One form. It writes into a folder that is not yet at its place, and says how the result is read again.

    `reloaded_by` names what opens the folder in a fresh process for the certificate: "transformers", "peft" (on top of
    the base), or nothing, where `read_back` gives the recipe that the files say, to be run as hooks. `library` and
    `relation` (to the base) are what a model card says in its head.
    """

    reloaded_by: ClassVar[str] = ""
    library: ClassVar[str] = ""
    relation: ClassVar[str] = ""

    @abstractmethod
    def check(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> None:
        """Raise RecipeError, before anything is written, where this form cannot hold the edit: say which part."""

    @abstractmethod
    def write(self, subject: Subject, recipe: Recipe, edit: WeightEdit, folder: Path) -> None:
        """Write the files into `folder`, which is there and empty."""

    def read_back(self, subject: Subject, folder: Path) -> Recipe:
        """The recipe that the written files say."""
        raise NotImplementedError

    def size(self, subject: Subject, recipe: Recipe) -> int:
        """About how many bytes `write` writes, so that a disk too small for them is known before."""
        return 0

    def said(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> Sequence[str]:
        """What a model card says of the files, a sentence each."""
        return ()

    def usage(self, subject: Subject) -> str:
        """How the files are used, as a block of code, with `FOLDER` where they are."""
        return ""
