"""Directional ablation: remove the component along a direction (Arditi et al. 2024).

    h' = h - strength (h . u) u

At strength 1, placed on everything that writes to the stream, the model can no longer represent the direction.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("ablate")
@dataclass(frozen=True)
class Ablate(Edit):
    """Remove the component along `direction`; `strength` is the share of it that is removed."""

    direction: Direction
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the component that is removed.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        unit = self.direction.unit.to(wide)
        # One product and one fused step, for this runs three times a layer while the model talks.
        return torch.addcmul(wide, (wide @ unit)[..., None], unit, value=-self.strength).to(acts.dtype)

    def linear(self) -> LinearMap:
        return LinearMap.removing(self.direction.unit[None].float().cpu(), self.strength)

    @property
    def control_match(self) -> str:
        return "projection"
