"""Steering: the one place that puts recipes on a model, and takes them off.

    acts' = where(mask, edit(acts), acts)

The mask is computed here alone, from the layout of the running pass (padding, prompt, reply, cached decoding)
and from the rows that a recipe belongs to. An edit that is an identity is visited and changes no bit. At the
end of the block every hook is removed, also after an exception; a site that was never visited is an error.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.models import Layout, Site, Subject, current_layout

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint

Recipes = Recipe | Sequence[Recipe] | None


@dataclass(frozen=True)
class _Part:
    """One placement at one site, for all rows or for some."""

    placement: Placement
    rows: tuple[int, ...] | None
    batch: int | None

    def apply(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        if self.batch is not None and acts.shape[0] != self.batch:
            raise RecipeError(f"{self.batch} recipes were given, one a row, for a batch of {acts.shape[0]} rows.")
        if self.placement.edit.is_identity:
            return acts
        mask = self._mask(acts)
        edited = self.placement.edit(acts)
        return edited if mask is None else torch.where(mask[..., None], edited, acts)

    def _mask(self, acts: Tensor) -> Bool[Tensor, "batch pos"] | None:
        tokens = None
        if self.placement.tokens != "all":
            tokens = self.placement.mask(_layout_of(acts, self.placement))
        if self.rows is None:
            return tokens
        mine = torch.zeros(acts.shape[0], 1, dtype=torch.bool, device=acts.device)
        mine[list(self.rows)] = True
        return mine.expand(acts.shape[:2]) if tokens is None else mine & tokens


@dataclass
class _Steering:
    """The hooks of one request, and which sites they have seen."""

    parts: dict[Site, list[_Part]] = field(default_factory=dict)
    visited: set[Site] = field(default_factory=set)

    def hook(self, site: Site) -> Callable[..., Tensor]:
        def edit(acts: Tensor, hook: "HookPoint") -> Tensor:
            self.visited.add(site)
            for part in self.parts[site]:
                acts = part.apply(acts)
            return acts

        return edit

    def require_fired(self, subject: Subject) -> None:
        missed = sorted(set(self.parts) - self.visited)
        if missed:
            raise RecipeError(
                f"The recipe was never applied at {', '.join(map(str, missed[:4]))} of {subject.name}: no forward "
                "pass reached it inside the block; run the model there, or choose other sites."
            )


@contextmanager
def steered(subject: Subject, recipe: Recipes) -> Iterator[None]:
    """Apply a recipe, or one for each row of the batch, to every pass of `subject` inside the block.

    Holds the Subject's lock. Raises RecipeError where an edit's site was never visited.
    """
    steering = _plan(subject, recipe)
    hooks = [(site, steering.hook(site)) for site in steering.parts]
    with subject.hooked(hooks):
        yield
    steering.require_fired(subject)


def _plan(subject: Subject, recipe: Recipes) -> _Steering:
    steering = _Steering()
    for one, rows, batch in _by_rows(recipe):
        one.check_fits(subject)
        for placement in one.placements:
            for site in placement.resolve(subject):
                steering.parts.setdefault(site, []).append(_Part(placement, rows, batch))
    return steering


def _by_rows(recipe: Recipes) -> list[tuple[Recipe, tuple[int, ...] | None, int | None]]:
    """Each distinct recipe once, with the rows that it belongs to (None is every row)."""
    if recipe is None:
        return []
    if isinstance(recipe, Recipe):
        return [(recipe, None, None)]
    rows: dict[str, list[int]] = {}
    for row, one in enumerate(recipe):
        rows.setdefault(one.digest, []).append(row)
    return [(recipe[mine[0]], tuple(mine), len(recipe)) for mine in rows.values()]


def _layout_of(acts: Tensor, placement: Placement) -> Layout:
    layout = current_layout()
    if layout is None or layout.position.shape != acts.shape[:2]:
        raise RecipeError(
            f"{placement} asks for some tokens only, and this pass does not say which tokens are which; run it "
            "through subject.logits or generate."
        )
    return layout
