"""How strongly over the tokens of a reply: straight lines between points.

    0:1, 32:0        whole at the reply's first token, less and less, nothing from its 32nd token on

Before the first point, in the prompt too, the first point's share holds; after the last one, the last one's.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.edit import number
from workbench.models import Layout

_FURTHEST = 10**9


@dataclass(frozen=True)
class Schedule:
    """Points (token of the reply, share of the strength). Raises RecipeError where they are not in order."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((int(place), float(share)) for place, share in self.points))
        places = [place for place, _ in self.points]
        if not places or places != sorted(set(places)) or not 0 <= places[0] <= places[-1] < _FURTHEST:
            raise RecipeError(
                f"The schedule {self} is not in order; write TOKEN:SHARE with tokens from 0 that increase."
            )
        if not all(math.isfinite(share) for _, share in self.points):
            raise RecipeError(f"The schedule {self} has a share that is not a finite number.")

    def __str__(self) -> str:
        return ", ".join(f"{place}:{number(share)}" for place, share in self.points)

    def shares(self, layout: Layout) -> Float[Tensor, "batch pos"]:
        """The share at each token of the running pass."""
        at = layout.in_reply.float()
        places = torch.tensor([place for place, _ in self.points], dtype=torch.float32, device=at.device)
        shares = torch.tensor([share for _, share in self.points], dtype=torch.float32, device=at.device)
        after = torch.searchsorted(places, at.contiguous(), right=True).clamp(max=len(places) - 1)
        before = (torch.searchsorted(places, at.contiguous(), right=True) - 1).clamp(min=0)
        gap = (places[after] - places[before]).clamp_min(1.0)
        way = ((at - places[before]) / gap).clamp(0.0, 1.0)
        return torch.lerp(shares[before], shares[after], way)  # exactly a point's share at the point
