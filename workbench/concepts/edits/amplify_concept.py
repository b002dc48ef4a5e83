"""Amplify a concept: write more of its vector, whatever was read.

    h' = h + strength u r v_c        u: the concept's natural unit, r: the stream's root mean square

At strength 1 a token gains what tokens of texts that show the concept have beyond near misses.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import scale_of
from workbench.concepts.handle import ConceptHandle
from workbench.interventions.edit import Edit, control, edits


@edits.register("amplify-concept")
@dataclass(frozen=True)
class AmplifyConcept(Edit):
    """Add `strength` natural units of `concept`."""

    concept: ConceptHandle
    strength: float = control(1.0, low=-8.0, high=8.0, help="How much is added, in natural units of the concept.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        by = self.strength * self.concept.typical * scale_of(wide)
        return (wide + by * self.concept.writes.to(wide)).to(acts.dtype)
