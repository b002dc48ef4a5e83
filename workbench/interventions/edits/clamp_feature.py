"""Feature clamp: hold a feature of a sparse autoencoder at a value (Templeton et al. 2024, *Scaling Monosemanticity*).

    h' = decode(f') + (h - decode(f)),  f' = f with f_i = value        so        h' = h + strength (value - f_i(h)) w_i

The reconstruction error is added back, so that nothing but the feature changes, and at its own value nothing does.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.directions import Feature
from workbench.interventions.edit import Edit, control, edits


@edits.register("clamp-feature")
@dataclass(frozen=True)
class ClampFeature(Edit):
    """Hold `feature` at `value`, in the autoencoder's own units."""

    feature: Feature
    value: float = control(0.0, low=0.0, high=100.0, help="The feature's activation.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way to that activation.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        gap = self.strength * (self.value - self.feature(wide))
        return (wide + gap[..., None] * self.feature.writes.to(wide)).to(acts.dtype)
