"""Measure conditions - baseline, treated, controls - on the same prompts, questions and texts.

Replies are generated under each recipe and judged, and each metric of the suite looks at the model under each. With a
run folder every finished part is written down, and an interrupted run goes on from there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from workbench.errors import UsageError
from workbench.evaluation.comparison import BASELINE, TREATED, Evaluation
from workbench.evaluation.controls import control_recipes
from workbench.evaluation.holdout import Sets, as_sets, unseen
from workbench.evaluation.judges import Judge, judges, make_judge
from workbench.evaluation.metrics import Ground, Metric, Observed, metrics
from workbench.evaluation.refusal import from_quality
from workbench.evaluation.replies import Measured, judged, unjudged
from workbench.evaluation.suites import Suite
from workbench.evaluation.suites import suite as find_suite
from workbench.generation import generate
from workbench.interventions import Recipe, match_ratios
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, note

REPLIES, OBSERVED = "replies.jsonl", "observations.jsonl"


@dataclass(frozen=True)
class Settings:
    """How replies are said and judged; each default is written here and nowhere else."""

    max_new_tokens: int = 64
    batch_size: int = 32
    seed: int = 0
    temperature: float = 0.0


def evaluate(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs | Sets,
    *,
    settings: Settings | None = None,
    suite: str | Suite = "quick",
    judge: str | Judge = "local",
    more: Sequence[Metric] = (),
    train: ContrastPairs | None = None,
    folder: RunFolder | None = None,
) -> Evaluation:
    """Baseline, `recipe` and its controls on harmful (`positive`) and harmless (`negative`) prompts, or named sets.

    `more` are metrics beside the suite's, such as `Readouts` of other directions, the ledger of side effects; `train`
    are the prompts that a full suite's control directions are found from.
    """
    chosen, how = _suite(suite), settings or Settings()
    sets = held_sets(subject, recipe, prompts, chosen, more, train)
    pairs = train if chosen.all_controls else None
    controls = control_recipes(subject, recipe, sets["harmful"], pairs, how.seed, how.batch_size)
    conditions = {BASELINE: Recipe(), TREATED: recipe, **controls}
    return measure(subject, conditions, sets, settings=how, suite=chosen, judge=judge, more=more, folder=folder)


def held_sets(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs | Sets,
    chosen: Suite,
    more: Sequence[Metric] = (),
    train: ContrastPairs | None = None,
) -> dict[str, Prompts]:
    """The suite's sets, without what the recipe, another direction, or a control is found with.

    Raises UsageError where the recipe is empty or a set is not there, PromptError where nothing is left of one.
    """
    if not len(recipe):
        raise UsageError("There is nothing to evaluate: the recipe is empty; give a direction to ablate or add.")
    recipe.check_fits(subject)
    given = as_sets(prompts)
    if lacking := [name for name in chosen.sets if name not in given]:
        raise UsageError(f"The suite asks {', '.join(lacking)} prompts too; give them.")
    read = {digest for metric in (*chosen.metrics, *more) for digest in metric.seen}
    sets = unseen(unseen(given, [recipe]), [], read, "another direction that is read was found with them")
    if train is None or not chosen.all_controls:
        return sets
    control = {prompt.digest for side in (train.positive, train.negative) for prompt in side}
    return unseen(sets, [], control, "the controls are found with them")


def measure(
    subject: Subject,
    conditions: Mapping[str, Recipe],
    prompts: ContrastPairs | Sets,
    *,
    settings: Settings | None = None,
    suite: str | Suite = "quick",
    judge: str | Judge = "local",
    more: Sequence[Metric] = (),
    folder: RunFolder | None = None,
    refusal_tokens: tuple[int, ...] = (),
) -> Evaluation:
    """Every condition on every set, without the prompts that a direction was found with, and by every metric.

    `refusal_tokens` begin refusals, where these conditions are compared with others that were measured elsewhere; by
    default those of the direction's search, or the model's.
    """
    how, chosen = settings or Settings(), _suite(suite)
    caller = make_judge(judge) if isinstance(judge, str) else judge
    sets = unseen(prompts, conditions.values())
    ground = ground_of(subject, sets, how, conditions.values())
    ground.refusal_tokens = refusal_tokens or ground.refusal_tokens
    replies = tuple(_all_replies(ground, conditions, chosen, caller, how, folder))
    used, missing = usable(ground, (*chosen.metrics, *more))
    observed = tuple(_all_observed(ground, conditions, used, folder))
    matches = {name: match_ratios(recipe) for name, recipe in conditions.items()}
    return Evaluation(
        replies,
        observed,
        {metrics.name_of(metric): tuple(metric.measured()) for metric in used},
        judges.name_of(caller),
        caller.agreement,
        {name: ratios for name, ratios in matches.items() if ratios},
        missing,
    )


def ground_of(subject: Subject, sets: Sets, how: Settings, recipes: Iterable[Recipe] = ()) -> Ground:
    """What metrics stand on; the refusal metric is the one that a search of a direction among `recipes` saw."""
    known = (from_quality(direction.quality) for recipe in recipes for direction in recipe.directions)
    tokens = next((ids for ids in known if ids), ())
    return Ground(subject, dict(sets), how.batch_size, how.max_new_tokens, how.seed, tokens)


def usable(ground: Ground, wanted: Iterable[Metric]) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be measured here, and why the others cannot."""
    used, missing = [], {}
    for metric in wanted:
        if why := metric.missing(ground):
            missing[metrics.name_of(metric)] = why
            note(f"{metrics.name_of(metric)} is not measured: {why}")
        else:
            used.append(metric)
    return used, missing


def _suite(named: str | Suite) -> Suite:
    return find_suite(named) if isinstance(named, str) else named


def _all_replies(
    ground: Ground,
    conditions: Mapping[str, Recipe],
    chosen: Suite,
    judge: Judge,
    how: Settings,
    folder: RunFolder | None,
) -> Iterator[Measured]:
    stored = [] if folder is None else folder.journal(REPLIES, Measured)
    known = {(part.condition, part.asked): part for part in stored}
    for asked, prompts in ground.sets.items():
        for condition, recipe in conditions.items():
            part = known.get((condition, asked))
            if part is None:
                note(f"{condition} on {len(prompts)} {asked} prompts")
                part = _replies(ground, condition, asked, prompts, recipe, chosen, judge, how)
                if folder is not None:
                    folder.log(REPLIES, part.model_dump(mode="json"))
            yield part


def _replies(
    ground: Ground,
    condition: str,
    asked: str,
    prompts: Prompts,
    recipe: Recipe,
    chosen: Suite,
    judge: Judge,
    how: Settings,
) -> Measured:
    tokens, lengths = chosen.tokens(asked, how.max_new_tokens), chosen.cuts(asked)
    said = generate(
        ground.subject, prompts, recipe, max_new_tokens=tokens, batch_size=how.batch_size,
        temperature=how.temperature, seed=how.seed,
    )  # fmt: skip
    replies = judged(unjudged(ground.subject, said, lengths), judge)
    return Measured(condition=condition, asked=asked, replies=replies)


def _all_observed(
    ground: Ground, conditions: Mapping[str, Recipe], used: Sequence[Metric], folder: RunFolder | None
) -> Iterator[Observed]:
    stored = [] if folder is None else folder.journal(OBSERVED, Observed)
    known = {(part.condition, part.metric): part for part in stored}
    for metric in used:
        name = metrics.name_of(metric)
        for condition, recipe in conditions.items():
            part = known.get((condition, name))
            if part is None:
                note(f"{name} of {condition}")
                part = Observed(condition=condition, metric=name, items=tuple(metric.observe(ground, recipe)))
                if folder is not None:
                    folder.log(OBSERVED, part.model_dump(mode="json"))
            yield part
