"""Subspace ablation: remove the component in the span of several directions (Wollschlaeger et al. 2025).

    h' = h - strength B^T B h        B: an orthonormal basis of the span

Ablating several directions one after the other does not do this, unless they are orthogonal: the second puts back
some of the first.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction, orthonormal
from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("ablate-subspace")
@dataclass(frozen=True)
class AblateSubspace(Edit):
    """Remove the component in the span of `span`; `strength` is the share of it that is removed."""

    span: tuple[Direction, ...]
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the component that is removed.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.span:
            raise RecipeError("A subspace needs at least one direction; name some.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        basis = self._basis.to(wide)
        return (wide - self.strength * (wide @ basis.T) @ basis).to(acts.dtype)

    @cached_property
    def _basis(self) -> Float[Tensor, "rank d_model"]:
        with torch.inference_mode(False):  # kept, and so perhaps used where gradients are taken
            return orthonormal(torch.stack([direction.unit for direction in self.span]))

    def linear(self) -> LinearMap:
        return LinearMap.removing(self._basis, self.strength)

    @property
    def control_match(self) -> str:
        return "projection"
