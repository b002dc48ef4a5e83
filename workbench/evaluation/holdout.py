"""Nothing is reported on what it was tuned on: the prompts that a direction was found with are left out."""

from collections.abc import Iterable

from workbench.interventions import Recipe
from workbench.prompts import ContrastPairs
from workbench.runs import note


def unseen(prompts: ContrastPairs, recipes: Iterable[Recipe]) -> ContrastPairs:
    """`prompts` without those that any direction of `recipes` was found with.

    Raises PromptError where a side has none left.
    """
    seen = {digest for recipe in recipes for digest in recipe.seen}
    kept = [side.without(seen) for side in (prompts.positive, prompts.negative)]
    left_out = len(prompts.positive) + len(prompts.negative) - sum(map(len, kept))
    if not left_out:
        return prompts
    note(f"{left_out} prompts are left out: the direction was found with them.")
    return ContrastPairs(*(side.require(1, "A test set, without what the direction was found with,") for side in kept))
