"""Nothing is reported on what it was tuned on: the prompts that a direction was found with are left out."""

from collections.abc import Collection, Iterable, Mapping

from workbench.interventions import Recipe
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import note

Sets = Mapping[str, Prompts]
FOUND = "the direction was found with them"


def as_sets(prompts: ContrastPairs | Sets) -> dict[str, Prompts]:
    """Sets by name; the sides of a contrast are `harmful` and `harmless`."""
    if isinstance(prompts, ContrastPairs):
        return {"harmful": prompts.positive, "harmless": prompts.negative}
    return dict(prompts)


def unseen(
    prompts: ContrastPairs | Sets, recipes: Iterable[Recipe], more: Collection[str] = (), why: str = FOUND
) -> dict[str, Prompts]:
    """The sets, each prompt once, without those that any direction of `recipes` was found with, and those of `more`.

    Raises PromptError where a set has none left.
    """
    sets = {name: _once(side, name) for name, side in as_sets(prompts).items()}
    seen = {digest for recipe in recipes for digest in recipe.seen} | set(more)
    kept = {name: side.without(seen) for name, side in sets.items()}
    if left_out := sum(len(sets[name]) - len(kept[name]) for name in sets):
        note(f"{left_out} prompts are left out: {why}.")
    what = "A test set, without what the direction was found with,"
    return {name: side.require(1, what) for name, side in kept.items()}


def _once(prompts: Prompts, name: str) -> Prompts:
    """Each prompt once: the same one twice is one item, and not two."""
    first = {prompt.digest: index for index, prompt in reversed(list(enumerate(prompts)))}
    if len(first) < len(prompts):
        note(f"{len(prompts) - len(first)} {name} prompts come more than once and are asked once.")
        return prompts.pick(sorted(first.values()))
    return prompts
