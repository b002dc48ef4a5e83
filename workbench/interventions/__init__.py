"""Changing the model as it runs: edits, where they are placed, recipes of them, and the one steering context."""

from workbench.interventions.controls import match_ratios, random_control
from workbench.interventions.edit import Edit, control
from workbench.interventions.edits.ablate import Ablate
from workbench.interventions.edits.add import Add
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.interventions.steering import steered

__all__ = ["Ablate", "Add", "Edit", "Placement", "Recipe", "control", "match_ratios", "random_control", "steered"]
