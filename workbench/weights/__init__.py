"""Changing the model for good: edits of its matrices, forms of export, and what was done to a checkpoint."""

from workbench.weights.applying import Applied, apply_weights, edited
from workbench.weights.audit import Audit, audit_weights
from workbench.weights.certificates import Certificate
from workbench.weights.compiling import Compiled, compile_recipe
from workbench.weights.control_vector import ControlVector
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.edits.orthogonalise import Orthogonalise
from workbench.weights.edits.preserve_columns import PreserveColumns
from workbench.weights.edits.preserve_rows import PreserveRows
from workbench.weights.export import Export
from workbench.weights.exporting import Exported, export_model
from workbench.weights.imports import Imported, import_from, import_recipe

__all__ = [
    "Applied",
    "Audit",
    "Certificate",
    "Compiled",
    "ControlVector",
    "Export",
    "Exported",
    "Imported",
    "Orthogonalise",
    "PreserveColumns",
    "PreserveRows",
    "WeightEdit",
    "apply_weights",
    "audit_weights",
    "compile_recipe",
    "edited",
    "export_model",
    "import_from",
    "import_recipe",
    "weight_edits",
]
