"""Re-derive a run's numbers: judge every stored reply again, and compute every score and difference again."""

import json
from collections.abc import Sequence
from typing import Any

from workbench.errors import UsageError
from workbench.evaluation.accounts import HALF_WIDTH, accounts, least_n
from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.judges import Judge, judges, make_judge
from workbench.evaluation.measuring import OBSERVED, REPLIES
from workbench.evaluation.metrics import Measure, Observed, metrics
from workbench.evaluation.replies import Judged, Measured, judged
from workbench.interventions import Recipe
from workbench.runs import RunFolder, digest_json
from workbench.statistics import Score


def rederive(folder: RunFolder) -> list[str]:
    """What does not come out as it is recorded, one sentence each; empty where all does."""
    faults: list[str] = []
    parts = folder.journal(REPLIES, Measured)
    judge, unlike = _judge(folder)
    faults += unlike
    if judge is not None:
        parts = [_called_again(part, judge, faults) for part in parts]
    faults += _sets_that_differ(folder, parts)
    found, recorded = _evaluation(folder, parts, judge), folder.results()
    return faults + _scores_that_differ(folder, found) + _results_that_differ(folder, found, recorded)


def _judge(folder: RunFolder) -> tuple[Judge | None, list[str]]:
    """The run's judge, where it is one that can be asked again, and what has become of it since."""
    identity = folder.manifest.settings.get("judge", {"name": "phrase"})
    if isinstance(identity, str):
        identity = {"name": identity}
    try:
        judge = make_judge(identity["name"])
    except UsageError:
        return None, []  # it asks somebody, or is not installed here: its stored verdicts stand
    if judge.identity == identity:
        return judge, []
    return None, [
        f"The judge {identity['name']} has changed since ({judge.identity}); its verdicts were not called again."
    ]


def _called_again(part: Measured, judge: Judge, faults: list[str]) -> Measured:
    again = judged(part.replies, judge)
    changed = sum(_called(a) != _called(b) for a, b in zip(part.replies, again, strict=True))
    if changed:
        faults.append(f"{changed} outcomes of {part.condition} on {part.asked} differ when judged again.")
    elif again != part.replies:
        faults.append(f"What the judge says of {part.condition} on {part.asked} is not what it says again.")
    return part.model_copy(update={"replies": again})


def _called(reply: Judged) -> tuple[Any, ...]:
    return reply.outcome, tuple(sorted(reply.outcomes_when_cut.items()))


def asked_for(folder: RunFolder, half_width: float) -> dict[str, Any]:
    """The results of a finished run, with the least n for another interval than it was asked for when it ran."""
    results = folder.results()
    if results["half_width"] == half_width:
        return results
    return results | {"half_width": half_width, "least_n": least_n(rebuilt(folder), half_width)}


def rebuilt(folder: RunFolder) -> Evaluation:
    """The evaluation that a finished run made, from what it wrote down."""
    return _evaluation(folder, folder.journal(REPLIES, Measured), _judge(folder)[0])


def _sets_that_differ(folder: RunFolder, parts: list[Measured]) -> list[str]:
    """Sets whose prompts are not those that the manifest names."""
    return [
        f"The prompts of {part.condition} on {part.asked} are not those that the run was asked for."
        for part in parts
        if part.asked in folder.manifest.data
        if digest_json([reply.digest for reply in part.replies]) != folder.manifest.data[part.asked]
    ]


def _evaluation(folder: RunFolder, parts: list[Measured], judge: Judge | None) -> Evaluation:
    results = folder.results()
    return from_stored(results.get("evaluation", results), parts, folder.journal(OBSERVED, Observed), judge)


def from_stored(
    results: dict[str, Any], parts: Sequence[Measured], observed: Sequence[Observed], judge: Judge | None
) -> Evaluation:
    """The evaluation of stored replies and values; what a judge or a metric says of itself is asked of it."""
    kappa = results["judge"]["kappa"] if judge is None else judge.agreement and judge.agreement.model_dump()
    names = {part.metric for part in observed}
    given = {m: tuple(Measure(**each) for each in results["measures"].get(m, ())) for m in names}
    measures = {m: (metrics[m].measures if m in metrics else ()) or rows for m, rows in given.items()}
    return Evaluation(
        tuple(parts),
        tuple(observed),
        measures,
        results["judge"]["name"] if judge is None else judges.name_of(judge),
        None if kappa is None else Score.model_validate(kappa),
        results["control_match"],
        results["not_measured"],
    )


def _scores_that_differ(folder: RunFolder, found: Evaluation) -> list[str]:
    recorded = {score.name: score for score in folder.manifest.scores}
    scores = {score.name: score for score in found.scores()}
    return [
        f"{name} is recorded as {recorded.get(name)} and comes out as {scores.get(name)}."
        for name in sorted(recorded.keys() | scores.keys())
        if recorded.get(name) != scores.get(name)
    ]


def _results_that_differ(folder: RunFolder, found: Evaluation, recorded: dict[str, Any]) -> list[str]:
    """Sections of the results that do not follow from what is stored."""
    derived = found.to_json()
    if "tax" in recorded:
        recipe = Recipe.load(folder.path / "recipe.json")
        derived |= accounts(found, recipe, recorded.get("half_width", HALF_WIDTH)) | {"recipe": str(recipe)}
    where = recorded.get("evaluation", recorded)
    return [
        f"The {name} in the results do not follow from the stored replies and values."
        for name, value in derived.items()
        if where.get(name) != json.loads(json.dumps(value))
    ]
