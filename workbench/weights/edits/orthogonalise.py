"""Orthogonalisation: the edit that a hook makes, made once for good (Arditi et al. 2024, section 4.1).

    W' = keep W + left^T (right W)        for an ablation of r by s: W' = W - s r r^T W

The change has the map's rank, and a matrix that is edited so writes what a hook would have made of its output.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.interventions import LinearMap
from workbench.weights.edit import WeightEdit, weight_edits


@weight_edits.register("orthogonalise")
@dataclass(frozen=True)
class Orthogonalise(WeightEdit):
    """Write the map as it is."""

    exact = True
    low_rank = True
    by_column = True

    def __call__(self, matrix: Float[Tensor, "d_model in"], change: LinearMap) -> Float[Tensor, "d_model in"]:
        left, right = change.left.to(matrix), change.right.to(matrix)
        kept = matrix if change.keep == 1.0 else change.keep * matrix
        return kept + left.T @ (right @ matrix)
