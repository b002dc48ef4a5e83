"""A recipe of additions as a control vector, which llama.cpp adds at every token while a GGUF model talks.

    N.resid_post, N.mlp_out    direction.N        nothing comes between the MLP's output and the block's
    N.resid_pre                direction.(N-1)    the input of a block is the output of the one before
    anything else              has no form: block 0 has no direction, what attention writes is read by the MLP before
                               the block ends, and nothing but an addition can be written

Additions at one place are summed in float64 and rounded once.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions import Placement, Recipe
from workbench.models import Site, Subject
from workbench.weights.compiling import linear_map
from workbench.weights.control_vector import ControlVector
from workbench.weights.edit import WeightEdit
from workbench.weights.export import Export, exports
from workbench.weights.imports.control_vector import additions

FILE = "control_vector.gguf"


@exports.register("gguf")
@dataclass(frozen=True)
class Gguf(Export):
    """A control vector for llama.cpp and repeng."""

    def check(self, subject: Subject, recipe: Recipe, edit: WeightEdit) -> None:
        control_vector(subject, recipe)

    def write(self, subject: Subject, recipe: Recipe, edit: WeightEdit, folder: Path) -> None:
        control_vector(subject, recipe).write(folder / FILE)

    def read_back(self, subject: Subject, folder: Path) -> Recipe:
        return additions(subject, ControlVector.read(folder / FILE))


def control_vector(subject: Subject, recipe: Recipe) -> ControlVector:
    """What the recipe adds to the output of each block. Raises RecipeError, which says which part is no addition."""
    recipe.check_fits(subject)
    found: dict[int, Tensor] = {}
    for placement in recipe.placements:
        if not placement.edit.is_identity:
            _gather(found, subject, placement)
    if not found:
        raise RecipeError("The recipe adds nothing, and a control vector can do nothing else; give an addition.")
    return ControlVector({layer: total.float() for layer, total in found.items()}, subject.model_type)


def _gather(found: dict[int, Tensor], subject: Subject, placement: Placement) -> None:
    """Add what one placement adds."""
    change = linear_map(placement)
    if change.turns:
        raise RecipeError(
            f"{placement}: a control vector can add and nothing else, and this edit takes something away; export it as "
            "hf or lora."
        )
    for site in placement.resolve(subject):
        layer = _layer(placement, site)
        shift = change.shift.cpu().double()
        found[layer] = found[layer] + shift if layer in found else shift


def _layer(placement: Placement, site: Site) -> int:
    """The block after which llama.cpp adds what is added at `site`."""
    layer = {"resid_pre": site.layer - 1, "resid_post": site.layer, "mlp_out": site.layer}.get(site.stream)
    if layer is None:
        raise RecipeError(
            f"{placement}: a control vector is added where a block ends, not at {site}; place it on resid_post, or on "
            "the input of the next block."
        )
    if layer < 1:
        raise RecipeError(
            f"{placement}: a control vector begins after block 1, and {site} is before that; place it on 2.resid_pre "
            "or later."
        )
    return layer
