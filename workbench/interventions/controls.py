"""The live control of a recipe: the same edits along a random direction.

A control must be able to do harm. Where a recipe adds a vector, the control adds a random one of the same
length; where it removes a projection, or moves it, the control does so with a random one of the same mean squared
size, measured on the prompts at hand at the direction's own site, whose origin is their mean; any other edit gets a
placebo, as long as its own change at every token and turned another way. Gates, places and schedules stay as they are.
Controls of several directions are orthogonal to all of these and to each other.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from workbench.activations import capture_moments
from workbench.directions import Direction, matched_random, random_unit
from workbench.interventions.edits.placebo import Placebo
from workbench.interventions.placement import Placement
from workbench.interventions.recipe import Recipe
from workbench.models import Subject, post_instruction_length
from workbench.prompts import Prompts

_RATIO = "match_ratio"


def random_control(
    subject: Subject, recipe: Recipe, prompts: Prompts, seed: int = 0, *, batch_size: int = 32
) -> Recipe:
    """`recipe` with every direction replaced by a matched random one, or every edit by its placebo."""
    drawn: dict[tuple[str, str], Direction] = {}

    def swap(placement: Placement) -> Placement:
        match = placement.edit.control_match
        if match == "placebo":
            return replace(placement, edit=Placebo(placement.edit, seed=seed))

        def change(direction: Direction) -> Direction:
            key = (direction.digest, match)
            if key not in drawn:
                others = [real for real in recipe.directions if real.digest != direction.digest]
                beside = [one.unit for one in (*others, *drawn.values()) if one.unit.shape == direction.unit.shape]
                drawn[key] = _random_like(subject, direction, match, prompts, batch_size, seed + len(drawn), beside)
            return drawn[key]

        return replace(placement, edit=placement.edit.mapped(change))

    return recipe.mapped(swap)


def match_ratios(control: Recipe) -> list[float]:
    """How much of the real directions' mean squared projection those of a control have; 1 is an exact match."""
    return [d.quality[_RATIO] for d in control.directions if _RATIO in d.quality]


def _random_like(
    subject: Subject, direction: Direction, match: str, prompts: Prompts, batch_size: int, seed: int,
    beside: Sequence[Tensor],
) -> Direction:  # fmt: skip
    method = f"random ({match} matched)"
    if match == "norm":
        return replace(direction, unit=random_unit(direction.unit, seed, beside), method=method, quality={})
    window = range(-post_instruction_length(subject, prompts[0].thinking) - 1, 0)
    moments = capture_moments(
        subject, prompts, sites=[direction.site], positions=list(window), batch_size=batch_size, with_second=True
    )
    unit, ratio = matched_random(direction.unit, moments.second, seed, beside)
    origin = float(moments.mean.mean(dim=(0, 1)) @ unit.double())
    return replace(direction, unit=unit, origin=origin, method=method, quality={_RATIO: ratio})
