"""The accounts of an edit: what was gained and what it cost, what the search saw and what the test says, how many
prompts a narrower interval would take, and the headline by type of prompt.
"""

from typing import Any

import numpy as np

from workbench.evaluation.by_type import attack_success, by_type
from workbench.evaluation.comparison import BASELINE, RANDOM, TREATED, Evaluation, scored, values_of
from workbench.evaluation.metrics import Item
from workbench.evaluation.refusal import FILTERED, from_quality, score_from_quality
from workbench.interventions import Recipe
from workbench.interventions.edits.ablate import Ablate
from workbench.interventions.edits.add import Add
from workbench.statistics import Score, gap_interval, least_n_for_mean, least_n_for_rate

GAINED = (("harmful", "compliance"), ("harmful", "refusal"), ("looks-harmful", "refusal"), ("harmless", "refusal"))
COST = (
    ("harmful", "broken"), ("harmless", "broken"), ("harmless", "compliance"), ("harmless", "repetition"),
    ("harmless", "diversity"), ("first-token", "first_token_kl"), ("divergence", "first_token_kl"),
    ("divergence", "kl"), ("divergence", "own_cross_entropy"), ("language", "cross_entropy"), ("choices", "accuracy"),
    ("choices", "margin"), ("truthfulqa", "mc1"), ("truthfulqa", "mc2"),
)  # fmt: skip
_SEARCHED = {"refusal_score": "harmful_odds", "steering_score": "harmless_odds", "kl_div_score": "first_token_kl"}
HALF_WIDTH, _NATS = 0.10, 0.05  # the intervals that n is planned for: of a rate, and of a mean in its unit


def accounts(evaluation: Evaluation, recipe: Recipe, half_width: float = HALF_WIDTH) -> dict[str, Any]:
    """All of them, as JSON; `half_width` is the interval of a rate that n is planned for."""
    return {
        "tax": {"gained": rows_of(evaluation, GAINED), "cost": rows_of(evaluation, (*COST, *_tasks(evaluation)))},
        "search_and_test": search_and_test(evaluation, recipe),
        "attack_success_rate": attack_success(evaluation),
        "by_type": by_type(evaluation),
        "half_width": half_width,
        "least_n": least_n(evaluation, half_width),
    }


def _tasks(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The measures of lm-eval's tasks, whatever they are called."""
    return tuple(("harness", measure.name) for measure in evaluation.measures.get("harness", ()))


def rows_of(evaluation: Evaluation, wanted: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """Before and after, with the difference, of each measure that was taken, all three on the same items.

    `against` says what it is compared with: the baseline, or, for a distance from the baseline, the random control.
    """
    found = []
    for group, name in wanted:
        difference = evaluation.difference(TREATED, group, name)
        measure = next((m for m in evaluation.measures_of(group) if m.name == name), None)
        if difference is None or measure is None:
            continue
        against = RANDOM if measure.distance else BASELINE
        was, now = (values_of(_items(evaluation, condition, group), name) for condition in (against, TREATED))
        both = [key for key in was if key in now]
        before, after = (scored(name, measure, [side[key] for key in both]).model_dump() for side in (was, now))
        change = difference.model_dump() | {"says": difference.says}
        row = {"group": group, "measure": name, "against": against, "before": before, "after": after, "change": change}
        found.append(row)
    return found


def _items(evaluation: Evaluation, condition: str, group: str) -> tuple[Item, ...]:
    return next(p.items for p in evaluation.parts if (p.condition, p.metric) == (condition, group))


def search_and_test(evaluation: Evaluation, recipe: Recipe) -> list[dict[str, Any]]:
    """What a search, a dose or a sweep saw on its validation prompts, and the same on the test prompts; and the gap.

    A search asks the prompts that are refused, or answered, as they should be, where it filters them: so does the test.
    """
    found = [("search", seen, _tested(evaluation, recipe, _SEARCHED[seen.name])) for seen in _of_search(recipe)]
    if recipe.tuned is not None:
        scores = {score.name: score for score in evaluation.scores()}
        found += [(recipe.tuned.by, seen, scores.get(f"{TREATED}/{seen.name}")) for seen in recipe.tuned.scores]
    return [_gap(by, seen, test) for by, seen, test in found if test is not None]


def _tested(evaluation: Evaluation, recipe: Recipe, measure: str) -> Score | None:
    """The score on the test prompts that the search would have asked; None where nothing measured it of them."""
    kept = _passing(evaluation) if recipe.directions[0].quality.get(FILTERED) else None
    for metric in ("refusal-odds", "divergence", "first-token"):
        items = next((p.items for p in evaluation.parts if (p.condition, p.metric) == (TREATED, metric)), ())
        values = values_of(items, measure)
        some = [value for key, value in values.items() if kept is None or key.rpartition("/")[2] in kept]
        if some:
            known = next(each for each in evaluation.measures_of(metric) if each.name == measure)
            return scored(f"{TREATED}/{metric}/{measure}", known, some)
    return None


def _passing(evaluation: Evaluation) -> set[str]:
    """Harmful prompts that the model as it is refuses, and harmless ones that it does not, by the search's measure."""
    odds = next((p.items for p in evaluation.parts if (p.condition, p.metric) == (BASELINE, "refusal-odds")), ())
    refused, answered = (values_of(odds, f"{asked}_odds") for asked in ("harmful", "harmless"))
    keys = [key for key, value in refused.items() if value > 0] + [key for key, value in answered.items() if value < 0]
    return {key.rpartition("/")[2] for key in keys}


def _gap(by: str, seen: Score, test: Score) -> dict[str, Any]:
    low, high = gap_interval(seen, test)
    gap = {"value": test.value - seen.value, "low": low, "high": high}
    return {"score": seen.name, "by": by, "search": seen.model_dump(), "test": test.model_dump(), "gap": gap}


def _of_search(recipe: Recipe) -> list[Score]:
    """What the search measured of a recipe that is its one direction, whole, as the search applied it."""
    if len(recipe) != 1 or len(recipe.directions) != 1:
        return []
    (placement,), (direction,) = recipe.placements, recipe.directions
    whole = getattr(placement.edit, "strength", None) == 1.0 and placement.tokens == "all"
    ablated = whole and isinstance(placement.edit, Ablate) and placement.sites == ("all",)
    added = whole and isinstance(placement.edit, Add) and placement.sites == (str(direction.site),)
    names = (("refusal_score", "kl_div_score") if ablated else ()) + (("steering_score",) if added else ())
    tokens = from_quality(direction.quality)
    found = (score_from_quality(name, direction.quality) for name in names if tokens or name == "kl_div_score")
    return [score for score in found if score is not None]


def least_n(evaluation: Evaluation, half_width: float = HALF_WIDTH) -> list[dict[str, Any]]:
    """How many items each treated rate needs for plus or minus `half_width`, and each mean for 0.05 of its unit."""
    found = []
    for part in evaluation.parts:
        if part.condition != TREATED:
            continue
        for measure in evaluation.measures_of(part.metric):
            values = list(values_of(part.items, measure.name).values())
            if len(values) < 2 or "@" in measure.name or measure.name == "unjudged":
                continue
            rate = measure.kind == "rate"
            width = half_width if rate else _NATS
            n = least_n_for_rate(width, float(np.mean(values))) if rate else _for_mean(width, values)
            found.append({"group": part.metric, "measure": measure.name, "plus_or_minus": width, "least_n": n,
                          "n": len(values)})  # fmt: skip
    return found


def _for_mean(width: float, values: list[float]) -> int:
    return least_n_for_mean(width, float(np.std(values, ddof=1)))
