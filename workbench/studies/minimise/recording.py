"""Find the weight edit with the least damage, into a run folder: `workbench minimise`, and the same from a script."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from workbench.display import Shown
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import ContrastPairs, for_tuning
from workbench.runs import RunFolder, RunManifest, note, write_figure
from workbench.statistics import Score
from workbench.studies.minimise.dials import require_writers
from workbench.studies.minimise.front import Front, Point
from workbench.studies.minimise.gradient import JOURNAL, Descent
from workbench.studies.minimise.lessons import prepare
from workbench.studies.minimise.settings import MinimiseSettings
from workbench.studies.minimise.tpe import SecondOpinion, second_opinion

FIGURE = "front.html"


@dataclass(frozen=True)
class Minimised(Shown):
    """The recipe with the least damage, the front that it was chosen from, and a second opinion, if one was asked."""

    recipe: Recipe
    front: Front
    opinion: SecondOpinion | None

    def __repr__(self) -> str:
        return f"Minimised({len(self.recipe)} placements, {self.front})"

    def to_json(self) -> dict[str, Any]:
        return {
            "settings": self.front.settings.to_json(),
            "front": self.front.to_json(),
            "chosen": self.front.chosen.to_json() | {"strengths": self.front.chosen.strengths},
            "second_opinion": self.opinion and self.opinion.to_json(),
            "recipe": str(self.recipe),
        }


def minimise(
    subject: Subject,
    pairs: ContrastPairs,
    validation: ContrastPairs,
    *,
    settings: MinimiseSettings | None = None,
    folder: RunFolder | None = None,
) -> Minimised:
    """Learn the strengths and directions of a weight edit that removes refusal at the least damage.

    Raises PromptError where a set is a test part, RecipeError where the architecture has no such weight edit.
    """
    chosen = settings or MinimiseSettings()
    require_writers(subject)
    train, held = drawn(pairs, validation, chosen)
    start, learned, apart = prepare(subject, train, held, chosen)
    points, dials = Descent(start, learned, apart, chosen, folder).run()
    front = Front(points, chosen)
    opinion = second_opinion(start, learned, apart, chosen, folder) if chosen.trials else None
    return Minimised(start.recipe(subject, dials[front.chosen.step]), front, opinion)


def record_minimise(
    subject: Subject,
    pairs: ContrastPairs,
    validation: ContrastPairs,
    *,
    settings: MinimiseSettings | None = None,
    out: Path | None = None,
) -> RunFolder:
    """The same into a run folder, with the recipe and the figure; an interrupted run goes on."""
    chosen = settings or MinimiseSettings()
    train, held = drawn(pairs, validation, chosen)
    data = {"train": train.digest, "validation": held.digest}
    manifest = RunManifest(command="minimise", settings=chosen.to_json(), model=subject.identity, data=data)
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This minimisation was finished before; its result is in {folder.path}.")
        return folder
    with folder.timed("minimise"):
        found = minimise(subject, train, held, settings=chosen, folder=folder)
    found.recipe.save(folder.path / "recipe.json")
    write_figure(folder.path / FIGURE, found.front.plot())
    folder.finish(found.to_json(), scores_of(found.front))
    return folder


def drawn(
    pairs: ContrastPairs, validation: ContrastPairs, settings: MinimiseSettings
) -> tuple[ContrastPairs, ContrastPairs]:
    """What is learned from and what is chosen on, without what is learned from."""
    for each in (pairs, validation):
        for side in (each.positive, each.negative):
            for_tuning(side, "a minimisation")
    train = pairs.sample(settings.n_train, settings.seed)
    seen = {prompt.digest for side in (train.positive, train.negative) for prompt in side}
    rest = (side.without(seen).require(2, "Validation") for side in (validation.positive, validation.negative))
    return train, ContrastPairs(*(side.sample(settings.n_val, settings.seed) for side in rest))


def scores_of(front: Front) -> list[Score]:
    """The chosen point's validation scores. They chose it, so they are no estimate of its effect."""
    point = front.chosen
    named = {"refused": point.refused, "metric": point.metric, "kl": point.kl}
    return [score.model_copy(update={"name": f"validation/{name}"}) for name, score in named.items()]


def rederive_minimise(folder: RunFolder) -> list[str]:
    """What of a minimisation does not follow from its points, one sentence each."""
    said = folder.manifest.settings
    settings = MinimiseSettings(**{item.name: said[item.name] for item in fields(MinimiseSettings)})
    front = Front(folder.journal(JOURNAL, Point), settings)
    recorded, faults = folder.results(), []
    if json.loads(json.dumps(front.to_json())) != recorded["front"]:
        faults.append("The front does not follow from the stored points.")
    recipe = Recipe.load(folder.path / "recipe.json")
    if str(recipe) != recorded["recipe"]:
        faults.append("The stored recipe is not the one that was reported.")
    strengths = [value for row in front.chosen.strengths for value in row if value != 0.0]
    if [getattr(placement.edit, "strength", None) for placement in recipe.placements] != strengths:
        faults.append("The recipe's strengths are not those of the chosen point.")
    return faults
