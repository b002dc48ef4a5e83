"""Laws 8 and 12 over every registered form of export, and six architectures: a new form is held to them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import random_direction
from tests.weights.again import in_this_process
from workbench.errors import RecipeError
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject
from workbench.runs import digest_file
from workbench.weights import Orthogonalise, export_model
from workbench.weights.export import exports

__all__ = ["in_this_process"]
FORMS = tuple(exports)
RECIPES: dict[str, Callable[[Subject], Recipe]] = {
    "everything": lambda subject: Ablate(random_direction(subject)).at("all"),
    "half of the layers' outputs": lambda subject: Ablate(random_direction(subject), 0.5).at(["attn_out", "mlp_out"]),
    "the embedding": lambda subject: Ablate(random_direction(subject)).at("embed"),
    "an addition": lambda subject: Add(random_direction(subject)).at("2"),
}


def held(form: str, subject: Subject) -> list[Recipe]:
    """The recipes that a form can hold of this architecture; it says of each other one why it cannot."""
    found = []
    for make in RECIPES.values():
        try:
            exports[form]().check(subject, make(subject), Orthogonalise())
        except RecipeError:
            continue
        found.append(make(subject))
    assert found, "a form that holds nothing says nothing of the laws"
    return found


@pytest.mark.filterwarnings("ignore::UserWarning:peft")  # of merging, which nobody does here
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_the_same_edit(tiny: Subject, form: str, tmp_path: Path) -> None:
    """8. Read again, it is the hooked model within the certificate's tolerance, and the unedited one is not."""
    for number, recipe in enumerate(held(form, tiny)):
        certificate = export_model(tiny, recipe, form, tmp_path / str(number)).certificate
        assert certificate.export.max_difference <= 1e-4
        assert certificate.unedited.max_difference > 1e-2


@pytest.mark.parametrize("form", FORMS)
def test_an_export_repeats(tiny: Subject, form: str, tmp_path: Path) -> None:
    """12. The same recipe writes the same bytes."""
    recipe = held(form, tiny)[0]
    sums = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        exports[form]().write(tiny, recipe, Orthogonalise(), tmp_path / name)
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
        sums.append({str(file.relative_to(tmp_path / name)): digest_file(file) for file in files})
    assert sums[0]
    assert sums[0] == sums[1]
