"""Head-level addition: shift the outputs of some attention heads (inference-time intervention, Li et al. 2023,
arXiv:2306.03341).

    x_h' = x_h + strength scale u_h        for each chosen head h, before the output projection

`direction` is one of the site `attn_heads`, all heads side by side; what it holds of the others is left out. The paper
scales by the standard deviation along the direction; here it is the class gap, as everywhere.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, control, edits
from workbench.interventions.linear import LinearMap


@edits.register("add-heads")
@dataclass(frozen=True)
class AddHeads(Edit):
    """Add what `direction` holds of head `head`, one of `heads`, `strength` class gaps of it.

    Raises RecipeError where the heads do not divide the direction, or there is no such head.
    """

    direction: Direction
    head: int
    heads: int
    strength: float = control(1.0, low=-16.0, high=16.0, help="Length of the shift, in class gaps.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.direction.width % self.heads:
            raise RecipeError(
                f"AddHeads: {self.heads} heads do not divide a direction {self.direction.width} wide; give the model's "
                "number of heads, and a direction found at attn_heads."
            )
        if not 0 <= self.head < self.heads:
            raise RecipeError(f"AddHeads: there is no head {self.head}; there are 0-{self.heads - 1}.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        wide = acts.float()
        return (wide + self._shift.to(wide)).to(acts.dtype)

    def linear(self) -> LinearMap:
        return LinearMap.adding(self._shift)

    @property
    def _shift(self) -> Float[Tensor, " d_model"]:
        width = self.direction.width // self.heads
        mine = slice(self.head * width, (self.head + 1) * width)
        shift = torch.zeros_like(self.direction.unit)
        shift[mine] = self.strength * self.direction.scale * self.direction.unit[mine]
        return shift
