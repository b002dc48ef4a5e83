"""Changing the model for good: edits of its matrices, forms of export, and what was done to a checkpoint."""

from workbench.weights.applying import Applied, apply_weights, edited
from workbench.weights.compiling import Compiled, compile_recipe
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.edits.orthogonalise import Orthogonalise
from workbench.weights.edits.preserve_columns import PreserveColumns
from workbench.weights.edits.preserve_rows import PreserveRows
from workbench.weights.export import Export, exports

__all__ = [
    "Applied",
    "Compiled",
    "Export",
    "Orthogonalise",
    "PreserveColumns",
    "PreserveRows",
    "WeightEdit",
    "apply_weights",
    "compile_recipe",
    "edited",
    "exports",
    "weight_edits",
]
