"""Nothing is reported on what it was tuned on: the prompts that a direction was found with are left out."""

from collections.abc import Iterable, Mapping

from workbench.interventions import Recipe
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import note

Sets = Mapping[str, Prompts]


def as_sets(prompts: ContrastPairs | Sets) -> dict[str, Prompts]:
    """Sets by name; the sides of a contrast are `harmful` and `harmless`."""
    if isinstance(prompts, ContrastPairs):
        return {"harmful": prompts.positive, "harmless": prompts.negative}
    return dict(prompts)


def unseen(prompts: ContrastPairs | Sets, recipes: Iterable[Recipe]) -> dict[str, Prompts]:
    """The sets without the prompts that any direction of `recipes` was found with.

    Raises PromptError where a set has none left.
    """
    sets = as_sets(prompts)
    seen = {digest for recipe in recipes for digest in recipe.seen}
    kept = {name: side.without(seen) for name, side in sets.items()}
    if left_out := sum(len(sets[name]) - len(kept[name]) for name in sets):
        note(f"{left_out} prompts are left out: the direction was found with them.")
    what = "A test set, without what the direction was found with,"
    return {name: side.require(1, what) for name, side in kept.items()}
