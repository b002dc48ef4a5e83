"""Activation patching: put a stored activation in the place of the running one (Vig et al. 2020; Meng et al. 2022).

h' = h + strength (stored - h)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import StoredActivation
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("replace")
@dataclass(frozen=True)
class Replace(Edit):
    """Put `stored` in the place of the activation; `strength` is the share of the way to it."""

    stored: StoredActivation
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way to the stored activation.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        stored = self.stored.values.to(wide)
        if self.strength == 1.0:
            return stored.expand_as(wide).to(acts.dtype)
        return torch.lerp(wide, stored, self.strength).to(acts.dtype)

    def linear(self) -> LinearMap:
        return LinearMap.keeping(1.0 - self.strength, self.strength * self.stored.values)
