"""Doses into a run folder: `workbench dose`, and the same from a script."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from workbench.evaluation import Settings, make_judge, measure, rederive
from workbench.evaluation.comparison import BASELINE
from workbench.evaluation.holdout import chosen_by, unseen
from workbench.evaluation.interchange import write_interchange
from workbench.evaluation.metrics.divergence import Divergence
from workbench.evaluation.metrics.refusal_odds import RefusalOdds
from workbench.evaluation.rederiving import rebuilt
from workbench.evaluation.suites import Suite
from workbench.interventions import Recipe, random_control
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts, for_tuning
from workbench.runs import RunFolder, RunManifest, note, write_figure
from workbench.studies.dose.dose import CONTROL, Dose, name_of
from workbench.studies.dose.settings import DoseSettings

FIGURE = "dose.html"
SUITE = Suite(("harmful", "harmless"), (Divergence(tokens=32), RefusalOdds()))


def record_dose(
    subject: Subject,
    recipe: Recipe,
    prompts: ContrastPairs,
    *,
    dose: DoseSettings | None = None,
    settings: Settings | None = None,
    judge: str = "local",
    out: Path | None = None,
) -> RunFolder:
    """Turn a control of `recipe` through its doses, into a run folder; an interrupted one goes on.

    Raises PromptError where the prompts are a test part, RecipeError where the recipe has no such control.
    """
    recipe.check_fits(subject)
    turned, how = dose or DoseSettings(), settings or Settings()
    for side in (prompts.positive, prompts.negative):
        for_tuning(side, "a dose")
    conditions: dict[str, Recipe] = {name_of(each): recipe.turned(turned.control, each) for each in turned.ordered}
    sets = unseen(prompts, [recipe])
    said = turned.to_json() | asdict(how) | {"recipe": recipe.to_json(), "judge": make_judge(judge).identity}
    said |= {"metrics": [metric.identity for metric in SUITE.metrics]}
    data = {name: side.digest for name, side in sets.items()}
    folder = RunFolder.start(RunManifest(command="dose", settings=said, model=subject.identity, data=data), out)
    if folder.done:
        note(f"These doses were measured before; the result is in {folder.path}.")
        return folder
    with folder.timed("dose"):
        all_conditions = {BASELINE: Recipe()} | conditions | _controls(subject, recipe, turned, sets, how)
        evaluation = measure(subject, all_conditions, sets, settings=how, suite=SUITE, judge=judge, folder=folder)
    found = Dose(evaluation, turned)
    _chosen(recipe, found, how).save(folder.path / "recipe.json")
    write_figure(folder.path / FIGURE, found.plot())
    write_interchange(folder.path, evaluation)
    folder.finish(found.to_json() | {"recipe": str(recipe)}, evaluation.scores())
    return folder


def _chosen(recipe: Recipe, found: Dose, how: Settings) -> Recipe:
    """The recipe at the chosen dose, or as it was given where there is none, with the prompts that decided."""
    dose, by = found.chosen, f"dose, replies of {how.max_new_tokens} tokens"
    if dose is None:
        return recipe.tuned_by(chosen_by(found.evaluation, None, by))
    return recipe.turned(found.settings.control, dose).tuned_by(chosen_by(found.evaluation, name_of(dose), by))


def rederive_dose(folder: RunFolder) -> list[str]:
    """What of a dose run does not follow from its replies and values, one sentence each."""
    said = folder.manifest.settings
    turned = DoseSettings.from_json(said)
    recorded = folder.results()
    found = Dose(rebuilt(folder), turned).to_json()
    faults = rederive(folder)
    for name in found.keys() - {"evaluation"}:
        if json.loads(json.dumps(found[name])) != recorded.get(name):
            faults.append(f"The {name} of the doses does not follow from the stored replies and values.")
    return faults


def _controls(
    subject: Subject, recipe: Recipe, turned: DoseSettings, sets: Mapping[str, Prompts], how: Settings
) -> dict[str, Recipe]:
    if not turned.controls:
        return {}
    control = random_control(subject, recipe, sets["harmful"], how.seed, batch_size=how.batch_size)
    if any(placement.edit.control_match == "placebo" for placement in recipe.placements):
        note("This edit's control is a placebo, which follows the edit itself; it is made for every dose.")
        return {
            CONTROL + name_of(d): random_control(subject, recipe.turned(turned.control, d), sets["harmful"], how.seed)
            for d in turned.ordered
        }
    return {CONTROL + name_of(each): control.turned(turned.control, each) for each in turned.ordered}
