"""Angular steering: turn the activation within a plane, its length kept (Vu and Nguyen 2025, *Angular Steering*).

    c = (h . b1, h . b2) = r (cos a, sin a)        b1 = the direction, b2 = the other, made orthogonal to it
    h' = h - c + r (cos a', sin a')                a' = a + strength (degrees - a), the shorter way round

`adaptive` turns only what leans towards the direction (h . b1 > 0), and leaves the rest as it is, to the bit.
"""

from dataclasses import dataclass
from functools import cached_property
from math import pi, radians

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import RecipeError
from workbench.interventions.edit import Edit, control, edits

_PARALLEL = 1e-3  # sine of the least angle between the axes


@edits.register("rotate")
@dataclass(frozen=True)
class Rotate(Edit):
    """Turn to `degrees` from `direction` towards `other`. Raises RecipeError where the axes are parallel."""

    direction: Direction
    other: Direction
    degrees: float = control(90.0, low=-180.0, high=180.0, help="Where to turn to, from the direction to the other.")
    strength: float = control(1.0, low=0.0, high=1.0, help="Share of the way to that angle.")
    adaptive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction.width != self.other.width:
            raise RecipeError("Rotate: the axes are of different widths; give two directions of one model.")
        if float(self._across.norm()) < _PARALLEL:
            raise RecipeError("Rotate: the axes are parallel and span no plane; give another second direction.")

    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return self._turned(acts, 1.0)

    def partly(
        self, acts: Float[Tensor, "batch pos d_model"], share: Float[Tensor, "batch pos 1"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """A share of the angle, so that the length is kept on the way."""
        return self._turned(acts, share[..., 0])

    @property
    def control_match(self) -> str:
        return "projection"

    @property
    def _across(self) -> Tensor:
        one, two = self.direction.unit.double(), self.other.unit.double()
        return two - (two @ one) * one

    @cached_property
    def _axes(self) -> Float[Tensor, "2 d_model"]:
        with torch.inference_mode(False):  # kept, and so perhaps used where gradients are taken
            across = self._across
            return torch.stack([self.direction.unit, (across / across.norm()).float()])

    def _turned(self, acts: Tensor, share: Tensor | float) -> Tensor:
        wide = acts.float()
        axes = self._axes.to(wide)
        along, across = (wide @ axes.T).unbind(dim=-1)
        angle = torch.atan2(across, along)
        way = torch.remainder(radians(self.degrees) - angle + pi, 2 * pi) - pi
        new, size = angle + self.strength * share * way, torch.hypot(along, across)
        change = torch.stack([size * new.cos() - along, size * new.sin() - across], dim=-1) @ axes
        turned = wide + change
        return (torch.where((along > 0)[..., None], turned, wide) if self.adaptive else turned).to(acts.dtype)
