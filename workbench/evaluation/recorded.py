"""An evaluation whose every reply and value is written down: `workbench evaluate`, and the same from a script."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.evaluation.accounts import HALF_WIDTH, accounts
from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.holdout import Sets, identity_of
from workbench.evaluation.interchange import write_interchange
from workbench.evaluation.judges import Judge, make_judge
from workbench.evaluation.measuring import Settings, evaluate, ground_of, held_sets, usable
from workbench.evaluation.metrics import Metric
from workbench.evaluation.report import report
from workbench.evaluation.suites import suite as find_suite
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import ContrastPairs
from workbench.runs import RunFolder, RunManifest, note, write_text
from workbench.statistics import least_n_for_rate

REPORT = "report.html"


def record_evaluation(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs | Sets,
    *,
    settings: Settings | None = None,
    suite: str = "quick",
    judge: str | Judge = "local",
    more: Sequence[Metric] = (),
    train: ContrastPairs | None = None,
    half_width: float = HALF_WIDTH,
    out: Path | None = None,
) -> RunFolder:
    """Evaluate a recipe into a run folder; a finished run of the same identity is handed back as it is.

    `half_width` is the interval of a rate for which the least number of prompts is said.
    """
    least_n_for_rate(half_width)  # an interval that cannot be planned is said before the work, not after it
    how, caller = settings or Settings(), make_judge(judge) if isinstance(judge, str) else judge
    chosen = find_suite(suite)
    sets = held_sets(subject, recipe, prompts, chosen, more, train)
    wanted = (*chosen.metrics, *more)
    # What cannot be measured today may be tomorrow, and is another run then.
    _, missing = usable(ground_of(subject, sets, how, [recipe]), wanted)
    said: dict[str, Any] = asdict(how) | chosen.to_json() | {
        "recipe": recipe.to_json(), "suite": suite, "judge": caller.identity, "not_measured": sorted(missing),
        "metrics": [metric.identity for metric in wanted],
    }  # fmt: skip
    data = identity_of(sets) | ({"train": train.digest} if train else {})
    manifest = RunManifest(command="evaluate", settings=said, model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This evaluation was finished before; its result is in {folder.path}.")
        return folder
    with folder.timed("evaluate"):
        evaluation = evaluate(
            subject, recipe, sets, settings=how, suite=suite, judge=caller, more=more, train=train,
            folder=folder,
        )  # fmt: skip
    recipe.save(folder.path / "recipe.json")
    finish(folder, evaluation, recipe, half_width)
    return folder


def finish(folder: RunFolder, evaluation: Evaluation, recipe: Recipe, half_width: float = HALF_WIDTH) -> None:
    """Write what was found in every form, and close the run."""
    results = evaluation.to_json() | accounts(evaluation, recipe, half_width) | {"recipe": str(recipe)}
    title = f"{folder.manifest.model['name']}: {recipe}"
    write_text(folder.path / REPORT, report(title, evaluation, results, "workbench runs verify ."))
    write_interchange(folder.path, evaluation)
    folder.finish(results, evaluation.scores())
