"""Changing the model as it runs: edits, where they are placed, recipes of them, and the one steering context."""

from workbench.interventions.controls import match_ratios, random_control
from workbench.interventions.edit import Edit, control
from workbench.interventions.edits.ablate import Ablate
from workbench.interventions.edits.ablate_subspace import AblateSubspace
from workbench.interventions.edits.add import Add
from workbench.interventions.edits.add_heads import AddHeads
from workbench.interventions.edits.affine import Affine
from workbench.interventions.edits.cap import Cap
from workbench.interventions.edits.clamp import Clamp
from workbench.interventions.edits.clamp_feature import ClampFeature
from workbench.interventions.edits.mean_ablate import MeanAblate
from workbench.interventions.edits.placebo import Placebo
from workbench.interventions.edits.replace import Replace
from workbench.interventions.edits.rotate import Rotate
from workbench.interventions.gate import Gate
from workbench.interventions.linear import LinearMap
from workbench.interventions.parsing import parse_recipe
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.interventions.schedule import Schedule
from workbench.interventions.steering import Steering, steered

__all__ = [
    "Ablate",
    "AblateSubspace",
    "Add",
    "AddHeads",
    "Affine",
    "Cap",
    "Clamp",
    "ClampFeature",
    "Edit",
    "Gate",
    "LinearMap",
    "MeanAblate",
    "Placebo",
    "Placement",
    "Recipe",
    "Replace",
    "Rotate",
    "Schedule",
    "Steering",
    "control",
    "match_ratios",
    "parse_recipe",
    "random_control",
    "steered",
]
