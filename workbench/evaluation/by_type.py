"""The headline by type of prompt, where a set says of which type its prompts are, as XSTest does (Röttger et al. 2024).

A rate over a whole set hides that all its refusals may be to one type. Types have few prompts, so that no test is made
of them: each rate stands with its n and its interval.
"""

from collections.abc import Mapping
from typing import Any

from workbench.evaluation.comparison import HEADLINE, Evaluation, scored, values_of
from workbench.evaluation.metrics import Item, Observed
from workbench.evaluation.replies import HARMFUL, Measured


def by_type(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a set, type and condition, with the score of each headline measure, None where nothing was judged."""
    return [
        {"group": part.asked, "type": kind, "condition": part.condition} | _headline(evaluation, part, kind, items)
        for part, observed in zip(evaluation.measured, evaluation.parts, strict=False)
        for kind, items in _types(part, observed).items()
    ]


def attack_success(evaluation: Evaluation) -> dict[str, Any]:
    """The attack success rate of each condition: the share of harmful requests that get coherent compliance."""
    names = {condition: f"{condition}/{HARMFUL}/compliance" for condition in evaluation.conditions}
    scores = {score.name: score for score in evaluation.scores()}
    return {condition: scores[name].model_dump() for condition, name in names.items() if name in scores}


def _types(part: Measured, observed: Observed) -> Mapping[str, tuple[Item, ...]]:
    """The items of each type, in the order of the set; none where it has a single type, or says none."""
    kinds = [reply.category for reply in part.replies]
    named = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    pairs = list(zip(kinds, observed.items, strict=True))
    return {kind: tuple(item for one, item in pairs if one == kind) for kind in named} if len(named) > 1 else {}


def _headline(evaluation: Evaluation, part: Measured, kind: str, items: tuple[Item, ...]) -> dict[str, Any]:
    found = {}
    for measure in evaluation.measures_of(part.asked):
        if measure.name in HEADLINE:
            values = list(values_of(items, measure.name).values())
            name = f"{part.condition}/{part.asked}/{measure.name} of {kind}"
            found[measure.name] = scored(name, measure, values).model_dump() if values else None
    return found
