"""Clamp: pin the coordinate along a direction, and leave all that is orthogonal to it alone.

    h' = h + strength (origin + value scale - h . u) u

The origin is the stream's, so that its places are block inputs: what an attention or MLP output adds has another one.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("clamp")
@dataclass(frozen=True)
class Clamp(Edit):
    """Hold the coordinate along `direction` at `value` natural units."""

    direction: Direction
    value: float = control(0.0, low=-4.0, high=4.0, help="Target, in class gaps from the negative class.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way to the target.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        unit = self.direction.unit.to(wide)
        gap = self.direction.origin + self.value * self.direction.scale - wide @ unit
        return (wide + self.strength * gap[..., None] * unit).to(acts.dtype)

    def linear(self) -> LinearMap:
        target = self.direction.origin + self.value * self.direction.scale
        removing = LinearMap.removing(self.direction.unit[None], self.strength)
        return removing.then(LinearMap.adding(self.strength * target * self.direction.unit))

    @property
    def control_match(self) -> str:
        return "projection"
