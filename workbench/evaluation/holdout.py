"""Nothing is reported on what it was tuned on.

The prompts that a direction was found with, and those that a recipe was chosen by, are left out.
"""

from collections.abc import Collection, Iterable, Mapping

from workbench.evaluation.comparison import HEADLINE, Evaluation
from workbench.interventions import Recipe
from workbench.interventions.tuning import Tuned
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import digest_json, note

Sets = Mapping[str, Prompts]
FOUND = "the direction was found with them, or the recipe chosen by them"


def as_sets(prompts: ContrastPairs | Sets) -> dict[str, Prompts]:
    """Sets by name; the sides of a contrast are `harmful` and `harmless`."""
    if isinstance(prompts, ContrastPairs):
        return {"harmful": prompts.positive, "harmless": prompts.negative}
    return dict(prompts)


def identity_of(sets: Sets) -> dict[str, str]:
    """What a manifest keeps of the sets: digests of what the model reads, and of the categories of by-type tables."""
    categories = {name: [prompt.category for prompt in side] for name, side in sets.items()}
    parted = {"categories": digest_json(categories)} if any(map(any, categories.values())) else {}
    return {name: side.digest for name, side in sets.items()} | parted


def unseen(
    prompts: ContrastPairs | Sets, recipes: Iterable[Recipe], more: Collection[str] = (), why: str = FOUND
) -> dict[str, Prompts]:
    """The sets, each prompt once, without those that `recipes` were made from or chosen by, and those of `more`.

    Raises PromptError where a set has none left.
    """
    sets = {name: _once(side, name) for name, side in as_sets(prompts).items()}
    seen = {digest for recipe in recipes for digest in recipe.seen} | set(more)
    kept = {name: side.without(seen) for name, side in sets.items()}
    if left_out := sum(len(sets[name]) - len(kept[name]) for name in sets):
        note(f"{left_out} prompts are left out: {why}.")
    what = "A test set, without what the direction was found with and the recipe chosen by,"
    return {name: side.require(1, what) for name, side in kept.items()}


def chosen_by(evaluation: Evaluation, condition: str | None, by: str) -> Tuned:
    """What a study that chose a condition of `evaluation`, or none of them, leaves to be left out and compared."""
    prompts = {reply.digest for part in evaluation.measured for reply in part.replies}
    wanted = [(condition, asked, name) for asked in evaluation.sets for name in (*HEADLINE, "broken")]
    named = {f"{c}/{asked}/{name}": f"{asked}/{name}" for c, asked, name in wanted}
    scores = [s.model_copy(update={"name": named[s.name]}) for s in evaluation.scores() if s.name in named]
    return Tuned(by=by, prompts=tuple(sorted(prompts)), scores=tuple(scores))


def _once(prompts: Prompts, name: str) -> Prompts:
    """Each prompt once: the same one twice is one item, and not two."""
    first = {prompt.digest: index for index, prompt in reversed(list(enumerate(prompts)))}
    if len(first) < len(prompts):
        note(f"{len(prompts) - len(first)} {name} prompts come more than once and are asked once.")
        return prompts.pick(sorted(first.values()))
    return prompts
