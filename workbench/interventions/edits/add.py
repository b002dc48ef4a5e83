"""Activation addition: shift the stream along a direction (Turner et al. 2023; Arditi et al. 2024).

    h' = h + strength scale u

`scale` is the gap between the two classes, so strength 1 adds the raw difference in means.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("add")
@dataclass(frozen=True)
class Add(Edit):
    """Add `direction`, `strength` class gaps of it."""

    direction: Direction
    strength: float = control(1.0, low=-4.0, high=4.0, help="Length of the shift, in class gaps.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        return (wide + self.strength * self.direction.scale * self.direction.unit.to(wide)).to(acts.dtype)

    def linear(self) -> LinearMap:
        return LinearMap.adding(self.strength * self.direction.scale * self.direction.unit)

    @property
    def control_match(self) -> str:
        return "norm"
