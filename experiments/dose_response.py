"""How much of the direction is enough, and how much too much?

1. A direction, found on train prompts and chosen on validation prompts.
2. It is ablated everywhere at each dose, on validation prompts, beside a random direction (`workbench.studies.dose`):
   which doses work, which do harm, and the window between them.
3. The smallest dose of the window, or the full one where there is no window, on test prompts that chose nothing.
"""

from collections.abc import Mapping

from experiments.experiment import Answer, Reported
from workbench.directions import Direction
from workbench.evaluation import Settings as Asked
from workbench.evaluation import record_evaluation, unseen
from workbench.evaluation.rederiving import rebuilt
from workbench.interventions import Ablate, Recipe
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder
from workbench.search import SearchSettings, record_find
from workbench.statistics import Score
from workbench.studies import Dose, DoseSettings, Parts, record_dose


class Settings(Reported):
    """Prompts of each part, how many of them, those that choose the direction, and the doses."""

    n_search: int
    doses: tuple[float, ...]


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Three runs: the search, its doses, and the dose that was chosen on other prompts."""
    train, val, test = (settings.pairs(part, prompts) for part in Parts._fields)
    search = SearchSettings(n_train=settings.n_train, n_val=settings.n_search, filtered=settings.filtered)
    subject = settings.subject
    found = record_find(subject, train, validation=val, settings=search, out=folder.path / "find")
    recipe = Ablate(Direction.load(found.path)).at("all")
    how, turned = Asked(settings.max_new_tokens), DoseSettings(doses=settings.doses)
    asked = sampled(unseen(val, [recipe]), settings.n_val)
    dosed = record_dose(subject, recipe, asked, dose=turned, settings=how, out=folder.path / "dose")
    chosen = Recipe.load(dosed.path / "recipe.json")
    held = sampled(unseen(test, [chosen]), settings.n_test)
    evaluated = record_evaluation(subject, chosen, held, settings=how, out=folder.path / "evaluate")
    results, runs = dosed.results(), (found, dosed, evaluated)
    return Answer(
        line=told(results, evaluated.manifest.scores),
        figure=Dose(rebuilt(dosed), turned).plot(),
        results={"window": results["window"], "chosen": results["chosen"], "said": results["said"]},
        parts=runs,
    )


def sampled(sides: Mapping[str, Prompts], n: int) -> ContrastPairs:
    """At most n prompts of each side, evenly over categories."""
    return ContrastPairs(sides["harmful"].sample(n, 0), sides["harmless"].sample(n, 0))


def told(dosed: Mapping[str, object], scores: list[Score]) -> str:
    """The window, and what the chosen dose does on test prompts."""
    by_name = {score.name: score for score in scores}
    rates = [
        f"{name} {by_name[f'{name}/harmful/compliance'].percent}"
        for name in ("baseline", "treated", "random control")
        if f"{name}/harmful/compliance" in by_name
    ]
    dose = 1.0 if dosed["chosen"] is None else dosed["chosen"]
    n = by_name["baseline/harmful/compliance"].n
    return f"{dosed['said']}; at {dose:g}, harmful test prompts complied with: {', '.join(rates)} (n={n})"
