"""Steering: the one place that puts recipes on a model, and takes them off.

    acts' = where(mask, edit(acts), acts)

The mask comes from the layout of the running pass (padding, prompt, reply, cached decoding), from the rows that a
recipe belongs to, and from its gate and its schedule: see `part`, where it is computed, and nowhere else. An edit that
is an identity is visited and changes no bit. At the end of the block every hook is removed, also after an exception; a
site that was never visited is an error.

What has to be remembered from pass to pass - the sites that were visited, what a gate decided on the prompt, which row
of the request each row of the pass is - lives in the `Steering` of the request, and never on the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions.gate import Gate
from workbench.interventions.part import Decided, Part, never_decided
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.models import Layout, Site, Subject, current_layout, whole_rows
from workbench.runs import note

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint

Recipes = Recipe | Sequence[Recipe] | None


@dataclass
class Steering:
    """The recipes of one request on their way through a model.

    `order` says which row of the request each row of the next pass is; None where the recipe is the same for all.
    """

    subject: Subject
    recipes: tuple[Recipe, ...] | Recipe
    order: list[int] | None = None
    visited: set[Site] = field(default_factory=set)
    _parts: dict[Site, list[Part]] = field(default_factory=dict)
    _gates: dict[Site, list[tuple[Gate, Part]]] = field(default_factory=dict)
    _decided: Decided = field(default_factory=dict)
    _resting: bool = True
    _begun: bool = False

    @classmethod
    def of(cls, subject: Subject, recipes: Recipes, n: int | None = None) -> "Steering":
        """Steering by one recipe, or by one for each of the `n` rows of the request."""
        if recipes is None or isinstance(recipes, Recipe):
            made = cls(subject, recipes or Recipe(), None if n is None else list(range(n)))
        else:
            made = cls(subject, tuple(recipes), list(range(len(recipes))))
        made._plan()
        return made

    def recipe_of(self, row: int) -> Recipe:
        """The recipe of a row of the request."""
        return self.recipes if isinstance(self.recipes, Recipe) else self.recipes[row]

    def change(self, recipes: Recipe | Sequence[Recipe]) -> None:
        """Steer by other recipes from the next pass on; what was decided and computed stays as it was.

        Raises RecipeError inside a block that holds the hooks, and where a gate asks of a prompt read without it.
        """
        if not self._resting:
            raise RecipeError("A recipe cannot change while its hooks are on the model; open another block.")
        wanted = recipes if isinstance(recipes, Recipe) else tuple(recipes)
        checked = replace(self, recipes=wanted, _parts={}, _gates={})
        checked._plan()
        before = [(str(part.placement), part) for part in self._each()]
        for _, part in before:
            part.remember(self._decided)
        for part in checked._each():
            part.recall(self._decided)
            for old in (old for text, old in before if text == str(part.placement)):
                part.goes_on(old)
            if self._begun and part.undecided(self.order or []):
                raise never_decided(part.placement)
        self.recipes, self._parts, self._gates = checked.recipes, checked._parts, checked._gates

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Hold the Subject's lock and the hooks for the duration of the block; inside another such block, nothing."""
        if not self._resting:
            yield
            return
        sites = sorted({*self._parts, *self._gates})
        acting = [part for part in self._each() if not part.placement.edit.is_identity]
        whole = any(part.rows is not None or part.placement.needs_whole_rows for part in acting)
        with self.subject.hooked([(site, self._hook(site)) for site in sites]), whole_rows(whole):
            self._resting, self._begun = False, True
            try:
                yield
            finally:
                self._resting = True

    def finish(self) -> None:
        """Raise RecipeError where a site was never visited; say so where a gate never opened."""
        missed = sorted({*self._parts, *self._gates} - self.visited)
        if missed:
            raise RecipeError(
                f"The recipe was never applied at {', '.join(map(str, missed[:4]))} of {self.subject.name}: no forward "
                "pass reached it inside the block; run the model there, or choose other sites."
            )
        for part in self._each():
            if part.asked and not part.opened:
                note(f"The gate of {part.placement} never opened, so its edit changed nothing.")

    def _each(self) -> list[Part]:
        return list({id(part): part for parts in self._parts.values() for part in parts}.values())

    def _plan(self) -> None:
        special = torch.tensor(sorted(self.subject.special_tokens), device=self.subject.device)
        for recipe, rows in self._by_rows():
            recipe.check_fits(self.subject)
            for placement in recipe.placements:
                part = Part(placement, rows, special)
                for site in placement.resolve(self.subject):
                    self._parts.setdefault(site, []).append(part)
                if placement.gate is not None:
                    self._gates.setdefault(placement.gate.site, []).append((placement.gate, part))

    def _by_rows(self) -> list[tuple[Recipe, tuple[int, ...] | None]]:
        """Each distinct recipe once, with the rows that it belongs to (None is every row)."""
        if isinstance(self.recipes, Recipe):
            return [(self.recipes, None)]
        rows: dict[str, list[int]] = {}
        for row, recipe in enumerate(self.recipes):
            rows.setdefault(recipe.digest, []).append(row)
        return [(self.recipes[mine[0]], tuple(mine)) for mine in rows.values()]

    def _hook(self, site: Site) -> Callable[..., Tensor]:
        gates, parts = self._gates.get(site, []), self._parts.get(site, [])

        def edit(acts: Tensor, hook: "HookPoint") -> Tensor:
            self.visited.add(site)
            flat = acts.flatten(2)  # some architectures keep the heads apart
            for gate, part in gates:
                if not part.placement.edit.is_identity:
                    places, rows, layout = self._rows(part, flat)
                    part.decide(gate, flat if places is None else flat[places], rows, layout)
            return self._edited(flat, parts).view(acts.shape)

        return edit

    def _edited(self, acts: Tensor, parts: Sequence[Part]) -> Tensor:
        mine = acts
        for part in parts:
            if part.placement.edit.is_identity:
                continue
            places, rows, layout = self._rows(part, acts)
            if places is None:
                mine = part.apply(mine, rows, layout)
            elif places:
                mine = acts.clone() if mine is acts else mine
                mine[places] = part.apply(mine[places], rows, layout)
        return mine

    def _rows(self, part: Part, acts: Tensor) -> tuple[list[int] | None, list[int] | None, Layout | None]:
        """Which rows of the pass are the part's (None: all), which rows of the request these are, and their layout."""
        layout = _layout_of(acts, part.placement) if part.needs_layout else None
        if part.rows is None:
            return None, self.order, layout
        if self.order is None or acts.shape[0] != len(self.order):
            n = len(self.order or ())
            raise RecipeError(f"{n} recipes were given, one a row, for a batch of {acts.shape[0]} rows.")
        places = [place for place, row in enumerate(self.order) if row in part.rows]
        return places, [self.order[place] for place in places], layout.of_rows(places) if layout else None


@contextmanager
def steered(subject: Subject, recipe: Recipes) -> Iterator[Steering]:
    """Apply a recipe, or one for each row of the batch, to every pass of `subject` inside the block.

    Holds the Subject's lock. Raises RecipeError where an edit's site was never visited.
    """
    steering = Steering.of(subject, recipe)
    with steering.applied():
        yield steering
    steering.finish()


def _layout_of(acts: Tensor, placement: Placement) -> Layout:
    layout = current_layout()
    if layout is None or layout.position.shape != acts.shape[:2]:
        raise RecipeError(
            f"{placement} asks for some tokens only, and this pass does not say which tokens are which; run it "
            "through subject.logits or generate."
        )
    return layout
