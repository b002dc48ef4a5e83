"""Controls that run the model: what the same edit does along a direction that should not matter.

random           matched in norm, or in the mean squared projection that is removed (see `random_control`)
shuffled labels  found at the same place, from the same prompts, with their labels dealt out anew
wrong layer      found from the same prompts and true labels, at another depth
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from workbench.activations import capture
from workbench.directions import Direction
from workbench.directions.extraction import extractors
from workbench.evaluation.comparison import RANDOM
from workbench.interventions import Placement, Recipe, random_control
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts

SHUFFLED, WRONG_LAYER = "shuffled labels", "wrong layer"
_PLAIN = "difference-in-means"
_MOST = 64  # prompts of each side


def control_recipes(
    subject: Subject,
    recipe: Recipe,
    matched_on: Prompts,
    pairs: ContrastPairs | None,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, Recipe]:
    """The random control, and, where there are `pairs` to find directions from, the other two."""
    found = {RANDOM: random_control(subject, recipe, matched_on, seed, batch_size=batch_size)}
    if pairs is None or not recipe.directions:
        return found
    few = pairs.sample(_MOST, seed)
    makers: Mapping[str, Callable[[Direction], Direction]] = {
        SHUFFLED: lambda d: _found_again(subject, d, few, d.site, seed, batch_size, SHUFFLED),
        WRONG_LAYER: lambda d: _found_again(
            subject, d, few, wrong_site(d.site, subject.n_layers), None, batch_size, WRONG_LAYER
        ),
    }
    for name, make in makers.items():
        made = {direction.digest: make(direction) for direction in recipe.directions}
        found[name] = recipe.mapped(lambda placement, made=made: _exchanged(placement, made))  # type: ignore[misc]
    return found


def _exchanged(placement: Placement, made: Mapping[str, Direction]) -> Placement:
    """The placement with the directions of its edit exchanged for those made of them; its gate stays as it is."""
    return replace(placement, edit=placement.edit.mapped(lambda direction: made.get(direction.digest, direction)))


def wrong_site(site: Site, n_layers: int) -> Site:
    """The same stream at a third of the depth; for the first layers, three deeper, or one up where there are so few."""
    if site.layer >= 3:
        return Site(site.layer // 3, site.stream)
    deeper = min(site.layer + 3, n_layers - 1)
    return Site(deeper if deeper != site.layer else max(site.layer - 1, 0), site.stream)


def _found_again(
    subject: Subject,
    direction: Direction,
    pairs: ContrastPairs,
    site: Site,
    seed: int | None,
    batch_size: int,
    name: str,
) -> Direction:
    """A direction found anew at `site`, with shuffled labels where there is a seed; as long as the real one."""
    position = -1 if direction.position is None else direction.position
    sides = [
        capture(subject, side, sites=[site], positions=[position], batch_size=batch_size).at(site, position)
        for side in (pairs.positive, pairs.negative)
    ]
    if seed is not None:
        both = torch.cat(sides)
        order = torch.randperm(len(both), generator=torch.Generator().manual_seed(seed))
        sides = [both[order[: len(sides[0])]], both[order[len(sides[0]) :]]]
    extract = extractors[direction.method if direction.method in extractors else _PLAIN]
    raw = extract(*sides)
    seen = frozenset(prompt.digest for side in (pairs.positive, pairs.negative) for prompt in side)
    return Direction.from_raw(
        raw, sides[1].double().mean(dim=0), scale=direction.scale, site=site, position=position, method=name,
        model_name=direction.model_name, model_digest=direction.model_digest, seen=seen | direction.seen,
    )  # fmt: skip
