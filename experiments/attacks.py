"""Which attacks does the model give way to, and does adding refusal defend it?

1. A direction, found on train prompts and chosen on validation prompts.
2. Every attack of `workbench.studies.attacks` - asked plainly, a prefill, a system prompt - on every recipe: the model
   as it is, refusal ablated, refusal added, and a random direction in place of each, on test prompts that the direction
   was not found with.
"""

from collections.abc import Mapping

from experiments.experiment import Answer, Reported
from workbench.directions import Direction
from workbench.evaluation import Settings as Asked
from workbench.evaluation.comparison import BASELINE
from workbench.plots import Figure
from workbench.plots.outcomes import outcomes_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder
from workbench.search import SearchSettings, record_find
from workbench.statistics import Score
from workbench.studies import record_attacks
from workbench.studies.attacks import ATTACKS, PLAIN, named

COLUMNS = {
    "harmful: refused": "harmful/refusal", "harmful: complied": "harmful/compliance",
    "harmful: broken": "harmful/broken", "harmless: refused": "harmless/refusal",
}  # fmt: skip

Settings = Reported


def answer(settings: Reported, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Two runs: the search, and the grid of attacks on recipes."""
    train, val, test = (settings.pairs(part, prompts) for part in ("train", "val", "test"))
    search = SearchSettings(n_train=settings.n_train, n_val=settings.n_val, filtered=settings.filtered)
    found = record_find(settings.subject, train, validation=val, settings=search, out=folder.path / "find")
    asked = test.sample(settings.n_test, 0)
    run = record_attacks(
        settings.subject, Direction.load(found.path), asked, settings=Asked(settings.max_new_tokens),
        out=folder.path / "attacks",
    )  # fmt: skip
    scores = {score.name: score for score in run.manifest.scores}
    chosen = {name: found.results()[name] for name in ("chosen", "passed_rule")}
    return Answer(told(scores), drawn(run.results()["grid"], scores), chosen, parts=(found, run))


def told(scores: Mapping[str, Score]) -> str:
    """What gives way as the model is; what either edit does beside its control; what is left of the defence."""

    def rate(recipe: str, attack: str = PLAIN, asked: str = "harmful") -> str:
        return scores[f"{named(attack, recipe)}/{asked}/refusal"].percent

    as_it_is, added = (
        ", ".join(f"{attack} {rate(recipe, attack)}" for attack in ATTACKS) for recipe in (BASELINE, "added")
    )
    return (
        f"harmful refused as the model is: {as_it_is}; refusal ablated: {PLAIN} {rate('ablated')} (a random direction "
        f"{rate('random ablated')}); refusal added: {added} (a random direction, {PLAIN}, {rate('random added')}); "
        f"harmless refused, {PLAIN}: {rate(BASELINE, asked='harmless')}, with refusal added "
        f"{rate('added', asked='harmless')} (n={scores[f'{BASELINE}/harmful/refusal'].n})"
    )


def drawn(grid: Mapping[str, tuple[str, str]], scores: Mapping[str, Score]) -> Figure:
    """Outcomes by attack and recipe, the controls hollow."""
    outcomes = {title: [scores[f"{condition}/{name}"] for condition in grid] for title, name in COLUMNS.items()}
    return outcomes_figure(
        [(attack, recipe) for attack, recipe in grid.values()], outcomes, ("random ablated", "random added")
    )
