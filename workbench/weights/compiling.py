"""From a recipe to the weights that are the same edit, or the reason why there are none.

Every placement must be linear and act on every token, always. Then, by the place where it stands:

    N.attn_out, N.mlp_out, embed    the map of that writer
    0.resid_pre                     the map of the embedding, and of the position embedding
    N.resid_pre, N-1.resid_post     there is no matrix that writes the stream as a whole. An addition is written by the
                                    MLP before it. Anything else is possible only where it finds nothing but constants:
                                    where every writer before it has been cleared of what it reads. So `ablate @ all`
                                    compiles at strength 1, and at half strength, where hooks on block inputs compound,
                                    it does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from workbench.errors import RecipeError
from workbench.interventions import LinearMap, Placement, Recipe
from workbench.models import Site, Subject, Writer, writers
from workbench.runs import digest_tensors

_LEFT = 1e-4  # of the length of what is read, that the writers before it may leave


@dataclass(frozen=True)
class Compiled:
    """What each matrix's output becomes; writers that are left as they are have no map."""

    maps: Mapping[Writer, LinearMap]
    recipe: Recipe

    def __repr__(self) -> str:
        return f"Compiled({len(self.maps)} writers, rank {self.rank}, {len(self.unhoused)} additions without a bias)"

    @property
    def rank(self) -> int:
        """The largest rank of a writer's map."""
        return max((each.rank for each in self.maps.values()), default=0)

    @property
    def unhoused(self) -> tuple[Writer, ...]:
        """Writers that would have to add something and have no bias to add it with."""
        return tuple(w for w, m in self.maps.items() if m.shifts and w.bias is None and w.component != "embed")

    @cached_property
    def digest(self) -> str:
        return digest_tensors({
            f"{writer}.{name}": tensor
            for writer, each in self.maps.items()
            for name, tensor in {
                "left": each.left, "right": each.right, "shift": each.shift, "keep": torch.tensor(each.keep)
            }.items()
        })  # fmt: skip


def compile_recipe(subject: Subject, recipe: Recipe) -> Compiled:
    """The maps of the writers that are the same edit as `recipe`.

    Raises RecipeError, which says which part prevents it.
    """
    recipe.check_fits(subject)
    known = writers(subject)
    at = _by_site(subject, recipe)
    nothing = LinearMap.nothing(subject.d_model)
    maps = {writer: at.get(_site(writer), nothing) if writer.component != "pos_embed" else nothing for writer in known}
    _begin(maps, at.get(Site(0, "resid_pre"), nothing))
    for layer in range(1, subject.n_layers + 1):
        after = at.get(Site(layer - 1, "resid_post"), nothing)
        before = at.get(Site(layer, "resid_pre"), nothing) if layer < subject.n_layers else nothing
        _settle(maps, layer, after.then(before))
    found = {writer: each for writer, each in maps.items() if each.turns or each.shifts}
    for writer in found:
        if writer.norm_follows:
            raise RecipeError(
                f"What {writer} writes in {subject.name} is normalised before it reaches the stream, so that no change "
                "of its matrix clears the stream of a direction; leave the edit a hook."
            )
    return Compiled({writer: _within(writer, each) for writer, each in found.items()}, recipe)


def linear_map(placement: Placement) -> LinearMap:
    """The placement's edit as matrices; RecipeError where it is not linear, or does not always act."""
    if placement.tokens != "all":
        raise RecipeError(f"{placement}: weights act on every token, not on {placement.tokens!r}; leave it a hook.")
    if placement.gate is not None or placement.schedule is not None:
        what = "gate" if placement.gate is not None else "schedule"
        raise RecipeError(f"{placement}: weights have no {what}; leave it a hook.")
    found = placement.edit.linear()
    if found is None:
        raise RecipeError(f"{placement}: this edit is no linear function of the activation; leave it a hook.")
    return found


def _by_site(subject: Subject, recipe: Recipe) -> dict[Site, LinearMap]:
    """What happens at each place, in the recipe's order."""
    found: dict[Site, LinearMap] = {}
    for placement in recipe.placements:
        if placement.edit.is_identity:
            continue
        change = linear_map(placement)
        for site in placement.resolve(subject):
            if site.stream == "attn_heads":
                raise RecipeError(f"{placement}: what the heads write is not the stream; place it on attn_out.")
            found[site] = found[site].then(change) if site in found else change
    return found


def _site(writer: Writer) -> Site:
    return Site(writer.layer, writer.component)


def _within(writer: Writer, change: LinearMap) -> LinearMap:
    """The map of what the matrix itself gives, before it is multiplied on its way to the stream."""
    return replace(change, shift=change.shift / writer.scale)


def _begin(maps: dict[Writer, LinearMap], change: LinearMap) -> None:
    """The first block's input is what the embeddings write, together."""
    for writer in maps:
        if writer.component == "embed":
            maps[writer] = maps[writer].then(change)
        elif writer.component == "pos_embed":
            maps[writer] = maps[writer].then(replace(change, shift=torch.zeros_like(change.shift)))


def _settle(maps: dict[Writer, LinearMap], layer: int, change: LinearMap) -> None:
    """An edit of the stream before `layer`: a constant, which the MLP before it writes."""
    if not (change.turns or change.shifts):
        return
    earlier = {w: m for w, m in maps.items() if w.layer < layer}
    read = _read_constants(earlier, layer, change)
    constant = change.shift + read @ change.left
    writer = next(w for w in earlier if (w.layer, w.component) == (layer - 1, "mlp_out"))
    maps[writer] = maps[writer].then(LinearMap.adding(constant))


def _read_constants(earlier: Mapping[Writer, LinearMap], layer: int, change: LinearMap) -> Tensor:
    """What the edit reads of the stream, if that is the same whatever the prompt."""
    still = [writer for writer, each in earlier.items() if _is_left(each, change)]
    if still or change.keep != 1.0:
        why = f" ({still[0]} still writes what it reads)" if still else ""
        raise RecipeError(
            f"The stream before layer {layer} is written by many matrices, and an edit of it is an edit of none of "
            f"them{why}; place it on embed, attn_out and mlp_out instead of block inputs."
        )
    total = torch.stack([each.shift for each in earlier.values()]).sum(dim=0)
    return change.right @ total


def _is_left(writer: LinearMap, change: LinearMap) -> bool:
    """Whether a writer writes, as its prompt would have it, something that `change` reads."""
    cleared = writer.cleared()
    left = change.right - (change.right @ cleared.T) @ cleared
    return bool((left.norm(dim=1) > _LEFT * change.right.norm(dim=1)).any())
