"""Placebo: as large a change as another edit makes, another way.

    h' = h + strength Q (edit(h) - h)        Q: signs drawn at random, and coordinates in a random order

Q is a rotation (or a reflection), so that the change has the other's length at every token and follows it, and points
where chance would have it: the live control of edits that no random direction can be matched to. It does not do away
with what the other edit sees, so that in many places, where an ablation finds nothing more to remove, a placebo of it
changes as much again in every one: those are controlled by a matched direction.
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, control, edits


@edits.register("placebo")
@dataclass(frozen=True)
class Placebo(Edit):
    """Change by as much as `edit` does, in a direction drawn with `seed`."""

    edit: Edit
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the other edit's change.")
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise RecipeError(f"Placebo: the seed is {self.seed}; give one from 0 on.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        order, signs = _drawn(wide.shape[-1], self.seed)
        change = self.edit(wide) - wide
        return (wide + self.strength * change[..., order.to(wide.device)] * signs.to(wide)).to(acts.dtype)

    @property
    def is_identity(self) -> bool:
        return super().is_identity or self.edit.is_identity


@cache
def _drawn(width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # kept, and so perhaps used where gradients are taken
        order = torch.randperm(width, generator=generator)
        return order, torch.randint(0, 2, (width,), generator=generator).float() * 2 - 1
