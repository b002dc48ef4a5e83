"""The signed cosine with a direction, which conditional activation steering compares (Lee et al. 2024, CAST)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.directions.readout import Readout, readouts


@readouts.register("cosine")
@dataclass(frozen=True)
class Cosine(Readout):
    """h . u / |h|; 0 where h is 0."""

    def measure(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        wide = acts.float()
        found: Tensor = (wide @ self.direction.unit.to(wide.device)) / wide.norm(dim=-1).clamp_min(1e-12)
        return found
