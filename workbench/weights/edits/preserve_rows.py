"""Orthogonalisation that leaves every row as long as it was, as norm-preserving abliteration does.

    w_i' = w_i* |w_i| / |w_i*|        w_i*: row i of the orthogonalised matrix - what is written to coordinate i

Rows are scaled by different factors, which turns every column again: some of what was taken away comes back, so that
law 9 does not hold of it. Named for what it is; `preserve-columns` keeps the law.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.interventions import LinearMap
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.edits.orthogonalise import Orthogonalise
from workbench.weights.edits.preserve_columns import rescaling


@weight_edits.register("preserve-rows")
@dataclass(frozen=True)
class PreserveRows(WeightEdit):
    """Write the map, then give every row its old length."""

    clears = False

    def __call__(self, matrix: Float[Tensor, "d_model in"], change: LinearMap) -> Float[Tensor, "d_model in"]:
        edited = Orthogonalise()(matrix, change)
        return edited * rescaling(matrix, edited, dim=1)
