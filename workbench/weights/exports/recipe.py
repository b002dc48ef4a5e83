"""The recipe itself, as JSON, with the directions that it holds beside it: for a workbench, to be run as hooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import RecipeError, RunError
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.weights.edit import WeightEdit
from workbench.weights.export import Export, exports
from workbench.weights.naming import base_of

FILE = "recipe.json"


@exports.register("recipe")
@dataclass(frozen=True)
class RecipeFile(Export):
    """What is done, and to what; no weight is in it."""

    def check(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> None:
        recipe.check_fits(subject)
        if not len(recipe):
            raise RecipeError("The recipe is empty, so that there is nothing to export; give one.")
        if not edit.exact:
            raise RecipeError("A recipe is run as hooks, which know no way of writing into weights; export hf.")

    def write(self, subject: Subject, recipe: Recipe, edit: WeightEdit, folder: Path) -> None:
        path = recipe.save(folder / FILE)
        if Recipe.load(path).digest != recipe.digest:
            raise RunError(f"The recipe that was written to {path} is not the one that was to be; nothing is kept.")

    def read_back(self, subject: Subject, folder: Path) -> Recipe:
        return Recipe.load(folder / FILE)

    def said(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> Sequence[str]:
        return ("It holds no weights: it is run as hooks on the model that it names.",)

    def usage(self, subject: Subject) -> str:
        return f"workbench generate {base_of(subject).argument} --recipe FOLDER/{FILE} --prompt 'Hello'"
