"""The coordinate along a direction, in class gaps: 0 where the negative class stands, 1 where the positive one does."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.directions.readout import Readout, readouts


@readouts.register("coordinate")
@dataclass(frozen=True)
class Coordinate(Readout):
    """(h . u - origin) / scale."""

    def measure(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        return self.direction.coordinate(acts)
