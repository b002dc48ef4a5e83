"""Set a concept: hold its activation at a value.

    h' = h + strength (value u - a_c(h)) r v_c        u: the concept's natural unit, r: the stream's root mean square

At its own value nothing changes, and all other parts, the residual too, stay as they are.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import scale_of
from workbench.concepts.handle import ConceptHandle
from workbench.interventions.edit import Edit, control, edits


@edits.register("set-concept")
@dataclass(frozen=True)
class SetConcept(Edit):
    """Hold `concept` at `value` natural units: 0 is absent, 1 what a text that shows it has."""

    concept: ConceptHandle
    value: float = control(1.0, low=0.0, high=8.0, help="The activation, in natural units of the concept.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way there.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        scale = scale_of(wide)
        gap = self.value * self.concept.typical - self.concept(wide / scale)[..., None]
        return (wide + self.strength * gap * scale * self.concept.writes.to(wide)).to(acts.dtype)
