"""Projection cap: keep the coordinate along a direction on one side of a bound (activation capping, Lu et al. 2026,
arXiv:2601.10387).

    h' = h + strength (min(h . u, bound) - h . u) u        bound = origin + value scale; max for min with `least`

What is within the bound is left as it is, to the bit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.interventions.edit import Edit, control, edits


@edits.register("cap")
@dataclass(frozen=True)
class Cap(Edit):
    """Let the coordinate along `direction` be at most `value` natural units, or, with `least`, at least that."""

    direction: Direction
    value: float = control(0.0, low=-4.0, high=4.0, help="The bound, in class gaps from the negative class.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of what is beyond the bound that is taken away.")
    least: bool = False

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        unit = self.direction.unit.to(wide)
        gap = self.direction.origin + self.value * self.direction.scale - wide @ unit
        beyond = (gap > 0 if self.least else gap < 0)[..., None]
        return torch.where(beyond, wide + self.strength * gap[..., None] * unit, wide).to(acts.dtype)

    @property
    def control_match(self) -> str:
        return "projection"
