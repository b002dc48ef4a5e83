"""What is learned: how much of which direction each layer's attention and MLP may no longer write.

    h' = h - s_lc (h . r_l) r_l        at the output of component c of layer l

On block inputs nothing is edited, so that the edit is one of weights: W' = W - s r r^T W, of rank 1 in each matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import RecipeError
from workbench.interventions import Ablate, Recipe
from workbench.models import Site, Subject, writers

COMPONENTS = ("attn_out", "mlp_out")
METHOD = "least damage"


@dataclass(frozen=True, eq=False)
class Dials:
    """A strength for each layer and component, and a direction, of length one, for each layer."""

    strengths: Float[Tensor, "layer component"]
    directions: Float[Tensor, "layer d_model"]

    def hooks(self) -> list[tuple[Site, Callable[..., Any]]]:
        """The edit as hooks through which gradients flow back to the dials."""
        units = self.directions / self.directions.norm(dim=1, keepdim=True)
        return [
            (Site(layer, component), _removing(units[layer], self.strengths[layer, place]))
            for layer in range(len(units))
            for place, component in enumerate(COMPONENTS)
        ]

    def detached(self) -> "Dials":
        """The dials as they stand, off the tape, each direction of length one."""
        units = self.directions.detach() / self.directions.detach().norm(dim=1, keepdim=True)
        return Dials(self.strengths.detach().clone(), units)


def _removing(unit: Tensor, strength: Tensor) -> Callable[..., Tensor]:
    def hook(acts: Tensor, hook: object = None) -> Tensor:
        along = unit.to(acts)
        return acts - (strength.to(acts) * (acts @ along))[..., None] * along

    return hook


@dataclass(frozen=True, eq=False)
class Start:
    """Where the dials start from: for each layer the difference of the means of the stream, off the harmless mean.

    `harmful` and `harmless` are the means after each layer at the prompt's last token.
    """

    harmful: Float[Tensor, "layer d_model"]
    harmless: Float[Tensor, "layer d_model"]
    seen: frozenset[str]

    def dials(self) -> Dials:
        """All strengths 0. What the harmless mean has of a direction would be damage to every prompt."""
        away = self.harmless / self.harmless.norm(dim=1, keepdim=True)
        gap = self.harmful - self.harmless
        gap = gap - (gap * away).sum(dim=1, keepdim=True) * away
        return Dials(torch.zeros(len(gap), len(COMPONENTS)), gap / gap.norm(dim=1, keepdim=True))

    def recipe(self, subject: Subject, dials: Dials) -> Recipe:
        """The dials as a recipe, which runs as hooks and compiles to weights."""
        found = Recipe()
        for layer, strengths in enumerate(dials.strengths.tolist()):
            direction = self._direction(subject, layer, dials.directions[layer])
            for component, strength in zip(COMPONENTS, strengths, strict=True):
                if strength != 0.0:
                    found = found + Ablate(direction, strength).at(f"{layer}.{component}")
        return found

    def _direction(self, subject: Subject, layer: int, vector: Tensor) -> Direction:
        gap = float((self.harmful[layer] - self.harmless[layer]) @ vector)
        return Direction.from_raw(
            vector if gap >= 0 else -vector,  # its positive end is the harmful one; ablating knows no sign
            self.harmless[layer],
            scale=max(abs(gap), 1e-6),
            site=Site(layer, "resid_post"),
            position=-1,
            method=METHOD,
            model_name=subject.name,
            model_digest=subject.digest,
            seen=self.seen,
        )


def require_writers(subject: Subject) -> None:
    """Raise RecipeError where what a matrix writes is not what reaches the stream."""
    for writer in writers(subject):
        if writer.norm_follows:
            raise RecipeError(
                f"What {writer} writes in {subject.name} is normalised before it reaches the stream, so that there is "
                "no weight edit to minimise; use hooks (`workbench dose`)."
            )
