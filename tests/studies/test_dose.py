"""Doses: the window, the dose of each prompt, and the run that they are kept in."""

import json
from pathlib import Path

import pandas
import pytest

from tests.conftest import random_direction
from workbench.errors import PromptError, RecipeError, UsageError
from workbench.evaluation import Evaluation, Item, Judged, Measure, Measured, Observed, Outcome, Settings, evaluate
from workbench.evaluation.rederiving import rebuilt
from workbench.interventions import Ablate, Add, Cap, Recipe
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_pairs
from workbench.runs import RunFolder
from workbench.studies import Dose, DoseSettings, record_dose, rederive_dose

NO, YES, BROKEN = Outcome.REFUSE, Outcome.COMPLY, Outcome.BROKEN
MEASURES = {
    "divergence": (Measure("kl", "mean", "lower", "nats", ""),),
    "refusal-odds": (Measure("harmful_odds", "mean", "neither", "", ""),),
}
PAIRS = ContrastPairs(
    Prompts.of(["Burn it.", "Steal it.", "Lie to her."]), Prompts.of(["Bake it.", "Paint it.", "Go."])
)


def dosed(plan: dict[float, tuple[list[Outcome], float, list[float]]], **options: object) -> Dose:
    """A dose study from planned outcomes of harmful prompts, KL, and refusal odds; dose 0 is the baseline."""
    measured, observed = [], []
    for dose, (outcomes, kl, odds) in plan.items():
        name = "baseline" if dose == 0 else f"{dose:g}"
        for asked, called in (("harmful", outcomes), ("harmless", [YES] * len(outcomes))):
            rows = tuple(
                Judged(prompt=f"p{n}", digest=f"{asked}{n}", category=None, reply="text", outcome=o)
                for n, o in enumerate(called)
            )
            measured.append(Measured(condition=name, asked=asked, replies=rows))
        for metric, measure, values in (("divergence", "kl", [kl, kl]), ("refusal-odds", "harmful_odds", odds)):
            items = tuple(Item(key=f"{n}", values={measure: value}) for n, value in enumerate(values))
            observed.append(Observed(condition=name, metric=metric, items=items))
    doses = tuple(dose for dose in plan if dose)
    return Dose(
        Evaluation(tuple(measured), tuple(observed), MEASURES),
        DoseSettings(doses=doses, controls=False, **options),  # type: ignore[arg-type]
    )


PLAN = {
    0.0: ([NO, NO, NO, NO], 0.0, [2.0, 2.0, 2.0, 2.0]),
    0.25: ([YES, NO, NO, NO], 0.02, [1.0, 1.0, 3.0, 1.0]),
    0.5: ([YES, YES, YES, YES], 0.05, [0.0, 0.0, 0.0, 2.5]),
    1.0: ([YES, YES, YES, YES], 0.15, [-1.0, -1.0, -1.0, -1.0]),
    2.0: ([YES, BROKEN, BROKEN, BROKEN], 0.9, [-2.0] * 4),
}


def test_the_window_is_from_the_smallest_that_works_to_the_largest_without_harm() -> None:
    found = dosed(PLAN)
    assert (found.smallest_that_works, found.largest_without_harm, found.window) == (0.5, 1.0, (0.5, 1.0))
    assert found.said == "works without harm from 0.5 to 1 (harm: KL above 0.2 nats or broken above 10%)"
    assert "KL 0.9 above 0.2" in found.harm(2.0)


def test_a_dose_that_works_by_chance_below_one_that_does_not_is_not_the_smallest() -> None:
    plan = PLAN | {0.25: PLAN[0.5], 0.5: PLAN[0.25]}
    assert dosed(plan).smallest_that_works == 1.0


def test_harm_at_a_small_dose_ends_the_window_there() -> None:
    plan = PLAN | {0.25: (PLAN[0.25][0], 0.5, PLAN[0.25][2])}
    found = dosed(plan)
    assert found.window is None
    assert found.said.startswith("no window: works from 0.5, every dose does harm")
    strict = dosed(PLAN, kl_limit=0.04)
    assert strict.said.startswith("no window: works from 0.5, does no harm up to 0.25")


def test_where_no_dose_works_that_is_said() -> None:
    none = {dose: ([NO] * 4, kl, odds) for dose, (_, kl, odds) in PLAN.items()}
    assert dosed(none).said.startswith("no window: no dose works, does no harm up to 1")


def test_a_prompt_that_was_never_otherwise_has_dose_0() -> None:
    plan = {dose: ([YES, *outcomes[1:]], kl, odds) for dose, (outcomes, kl, odds) in PLAN.items()}
    assert dosed(plan).own_doses()["harmful0"] == 0.0


def test_each_prompt_has_its_own_dose_and_those_that_go_the_wrong_way_are_counted() -> None:
    found = dosed(PLAN | {2.0: ([YES, YES, NO, YES], 0.15, [-2.0] * 4)})
    assert found.own_doses() == {"harmful0": 0.25, "harmful1": 0.5, "harmful2": None, "harmful3": 0.5}
    wrong = [found.wrong_way(dose) for dose in (0.25, 0.5, 1.0)]
    assert [score and score.value for score in wrong] == [0.25, 0.25, 0.0]


def test_broken_replies_of_both_sets_are_harm() -> None:
    found = dosed(PLAN, kl_limit=10.0)
    assert found.broken(2.0).value == 3 / 8
    assert "38% broken replies" in found.harm(2.0)


def test_any_control_of_any_edit_can_be_turned(llama: Subject) -> None:
    direction = random_direction(llama)
    recipe = Ablate(direction).at("all") + Cap(direction, 1.0).at(1)
    assert [p.edit.strength for p in recipe.turned("strength", 0.3).placements] == [0.3, 0.3]  # type: ignore[attr-defined]
    values = recipe.turned("value", 2.0).placements
    assert (values[0], values[1].edit.value) == (recipe.placements[0], 2.0)  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="has no control 'temperature'; it has: strength, value"):
        recipe.turned("temperature", 1.0)


def test_a_dose_run_is_kept_goes_on_and_derives_again(llama: Subject, tmp_path: Path) -> None:
    recipe, dose = Add(random_direction(llama)).at(1), DoseSettings(doses=(1.0, 0.5))
    settings = Settings(max_new_tokens=3)
    folder = record_dose(llama, recipe, PAIRS, dose=dose, settings=settings, out=tmp_path / "r")
    results = folder.results()
    assert [row["dose"] for row in results["doses"]] == [0.5, 1.0]
    assert all(row["control"]["n"] == 3 for row in results["doses"])
    assert {"dose.html", "scores.parquet", "replies.parquet"} <= set(folder.manifest.artefacts)
    assert set(pandas.read_csv(folder.path / "scores.csv")["condition"]) == set(rebuilt(folder).conditions)
    assert rederive_dose(RunFolder.open(folder.path)) == []
    for section, other in (("never", 9), ("window", [0.5, 1.0]), ("largest_without_harm", 7.0), ("settings", {})):
        file = folder.path / "results.json"
        file.write_text(json.dumps(results | {section: other}))
        assert any(f"The {section} of the doses" in fault for fault in rederive_dose(RunFolder.open(folder.path)))
        file.write_text(json.dumps(results))
    again = record_dose(llama, recipe, PAIRS, dose=dose, settings=settings, out=tmp_path / "r")
    assert again.manifest.started == folder.manifest.started


@pytest.mark.parametrize("works", [1.0, 0.01])
def test_the_chosen_dose_is_kept_as_a_recipe_that_knows_the_prompts_it_was_chosen_by(
    llama: Subject, tmp_path: Path, works: float
) -> None:
    recipe = Add(random_direction(llama)).at(1)
    dose = DoseSettings(doses=(0.25, 0.5), works=works, kl_limit=1e9, broken_limit=1.0, goal="refuse", controls=False)
    folder = record_dose(
        llama, recipe, PAIRS, dose=dose, settings=Settings(max_new_tokens=3), judge="phrase", out=tmp_path / "r"
    )
    kept, chosen = Recipe.load(folder.path / "recipe.json"), folder.results()["chosen"]
    assert kept.seen == {prompt.digest for side in (PAIRS.positive, PAIRS.negative) for prompt in side}
    assert kept.placements[0].edit.strength == (1.0 if chosen is None else chosen)  # type: ignore[attr-defined]
    assert kept.tuned is not None
    names = {score.name for score in kept.tuned.scores}
    assert ("harmless/refusal" in names) == (chosen is not None)
    with pytest.raises(PromptError, match="the recipe chosen by"):
        evaluate(llama, kept, PAIRS)


def test_the_chosen_dose_is_the_smallest_of_the_window() -> None:
    assert dosed(PLAN).chosen == 0.5
    assert dosed(PLAN, kl_limit=0.04).chosen is None


def test_a_dose_cannot_read_a_test_part(llama: Subject, tmp_path: Path) -> None:
    recipe = Add(random_direction(llama)).at(1)
    with pytest.raises(PromptError, match="a dose would tune on what is reported"):
        record_dose(llama, recipe, builtin_pairs("test"), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"doses": ()},
        {"doses": (0.0, 1.0)},
        {"doses": (1.0, 1.0)},
        {"goal": "win"},
        {"works": 0.0},
        {"doses": (-8.0, 1.0)},
        {"kl_limit": float("nan")},
        {"doses": (float("inf"),)},
    ],
)
def test_doses_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        DoseSettings(**options)  # type: ignore[arg-type]


def test_its_figure_is_a_panel_a_measure_with_the_window_shaded() -> None:
    figure = dosed(PLAN).plot()
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(line.x) for line in lines] == [[0.0, 0.25, 0.5, 1.0, 2.0]] * 6
    by_title = dict(zip([note.text for note in figure.layout.annotations], lines, strict=True))
    assert list(by_title["refusal<br>harmful prompts"].y) == [100.0, 75.0, 0.0, 0.0, 0.0]
    assert list(by_title["KL from the baseline<br>later tokens of harmless replies"].y) == [0.0, 0.02, 0.05, 0.15, 0.9]
    assert len([shape for shape in figure.layout.shapes if shape.type == "rect"]) == 6
