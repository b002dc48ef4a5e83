"""Affine concept editing (ACE, Marshall, Scherlis and Belrose 2024, arXiv:2411.09003).

    h' = h - proj(h) + proj(mean of the negatives) + value r        r: the raw difference of the classes

Refusal is affine: its zero lies at the harmless mean and not at the origin of the stream, so that ablation, which goes
to the origin, removes more than the behaviour. In natural units the formula is a clamp, whose 0 is the negative class
and whose 1 is the positive one.
"""

from dataclasses import dataclass

from workbench.interventions.edit import edits
from workbench.interventions.edits.clamp import Clamp


@edits.register("affine")
@dataclass(frozen=True)
class Affine(Clamp):
    """Stand where the negative class stands along `direction`, and `value` class gaps from there."""
