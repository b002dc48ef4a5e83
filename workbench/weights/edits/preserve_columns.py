"""Orthogonalisation that leaves every column as long as it was.

    w_j' = w_j* |w_j| / |w_j*|        w_j*: column j of the orthogonalised matrix - what input j writes to the stream

Each column is scaled as a whole, so that what was taken away stays away (law 9 holds). The change has full rank: no
adapter of low rank holds it, and no hook on the output makes it, for the scale depends on the input.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.interventions import LinearMap
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.edits.orthogonalise import Orthogonalise

_NOTHING = 1e-12


@weight_edits.register("preserve-columns")
@dataclass(frozen=True)
class PreserveColumns(WeightEdit):
    """Write the map, then give every column its old length."""

    by_column = True

    def __call__(self, matrix: Float[Tensor, "d_model in"], change: LinearMap) -> Float[Tensor, "d_model in"]:
        edited = Orthogonalise()(matrix, change)
        return edited * rescaling(matrix, edited, dim=0)


def rescaling(matrix: Tensor, edited: Tensor, dim: int) -> Tensor:
    """By what the edited matrix is to be multiplied along `dim` for its old lengths; 1 where nothing is left of it."""
    old, new = matrix.norm(dim=dim, keepdim=True), edited.norm(dim=dim, keepdim=True)
    return torch.where(new > _NOTHING * old.clamp_min(_NOTHING), old / new.clamp_min(_NOTHING), 1.0)
