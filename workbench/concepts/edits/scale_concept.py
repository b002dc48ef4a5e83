"""Scale a concept: its own contribution, as the bottleneck reads it, times a factor.

    h' = h + strength (factor - 1) a_c(h) r v_c        r: the stream's root mean square

Factor 1 changes nothing; factor 0 takes the contribution away and leaves all that the module did not read.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import scale_of
from workbench.concepts.handle import ConceptHandle
from workbench.interventions.edit import Edit, control, edits


@edits.register("scale-concept")
@dataclass(frozen=True)
class ScaleConcept(Edit):
    """Multiply the contribution of `concept` by `factor`."""

    concept: ConceptHandle
    factor: float = control(0.0, low=0.0, high=8.0, help="What the contribution is multiplied by; 1 changes nothing.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way there.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        scale = scale_of(wide)
        by = self.strength * (self.factor - 1) * self.concept(wide / scale)[..., None] * scale
        return (wide + by * self.concept.writes.to(wide)).to(acts.dtype)

    @property
    def is_identity(self) -> bool:
        """Whether the edit changes nothing, whatever it is given."""
        return self.strength == 0.0 or self.factor == 1.0
