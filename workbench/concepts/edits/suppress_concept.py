"""Suppress a concept: the positive part alone of what the stream has along its vector.

    h' = h - strength relu(x . u - l) r u        x = h / r,  u = v_c / |v_c|

l is the coordinate that near misses have on average. A plain subtraction would push below it, and so promote what is
opposite; here a stream without the concept is left as it is.
"""

from dataclasses import dataclass

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import scale_of
from workbench.concepts.handle import ConceptHandle
from workbench.interventions.edit import Edit, control, edits


@edits.register("suppress-concept")
@dataclass(frozen=True)
class SuppressConcept(Edit):
    """Take away what the stream has of `concept` beyond a text without it."""

    concept: ConceptHandle
    strength: float = control(1.0, low=0.0, high=8.0, help="How often it is taken away; more than once turns it round.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        scale = scale_of(wide)
        unit = (self.concept.writes / self.concept.writes.norm().clamp_min(1e-12)).to(wide)
        along = einsum(wide / scale, unit, "batch pos d_model, d_model -> batch pos")
        beyond = (along - self.concept.level).relu()[..., None]
        return (wide - self.strength * beyond * scale * unit).to(acts.dtype)
