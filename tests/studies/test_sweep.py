"""Sweeps: every combination once, the same whichever engine, and a failure costs its own row."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import random_direction
from workbench.directions import Direction
from workbench.errors import PromptError, RecipeError, UsageError
from workbench.evaluation import Settings
from workbench.evaluation.refusal import metric_of
from workbench.interventions import Recipe
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts, builtin_prompts
from workbench.runs import RunFolder
from workbench.runs.engines import make_engine
from workbench.runs.tasks import TaskStore
from workbench.studies import Grid, record_sweep, rederive_sweep, sweep
from workbench.studies.sweep.condition import opened

SETS = {"harmful": Prompts.of(["Burn it.", "Steal it."]), "harmless": Prompts.of(["Bake it.", "Paint it."])}
FEW = Settings(max_new_tokens=3)
RECIPE = "add({direction}, strength={strength}) @ {layer}"


@pytest.fixture
def grid(llama: Subject, tiny_folders: dict[str, Path], tmp_path: Path) -> Grid:
    files = {
        name: random_direction(llama, seed).save(tmp_path / f"{name}.safetensors") for seed, name in enumerate("ab")
    }
    return Grid((str(tiny_folders["llama"]),), RECIPE, files, (1, 2), (1.0,), dtype="float32", controls=False)


def test_a_grid_is_every_way_to_fill_the_recipe_in(grid: Grid) -> None:
    expected = [
        "add(a, strength=1.0) @ 1",
        "add(a, strength=1.0) @ 2",
        "add(b, strength=1.0) @ 1",
        "add(b, strength=1.0) @ 2",
    ]
    assert list(grid.recipes()) == expected
    assert list(Grid(("m",), "ablate(a) @ all", grid.directions, (1, 2)).recipes()) == ["ablate(a) @ all"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [("add(a) @ {site}", "{site} cannot be filled in"), ("add({direction}) @ 1", "no --direction was given")],
)
def test_a_grid_that_cannot_be_filled_in_is_refused(recipe: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Grid(("m",), recipe)
    with pytest.raises(UsageError, match="needs a model"):
        Grid((), "nothing")


def test_a_sweep_is_measured_once_and_shared(grid: Grid, tmp_path: Path) -> None:
    store, engine = TaskStore(tmp_path / "tasks"), make_engine("here")
    found = sweep(grid, SETS, engine, settings=FEW, store=store)
    (evaluation,) = found.evaluations.values()
    assert evaluation.conditions == ["baseline", *grid.recipes()]
    assert len(list((tmp_path / "tasks").iterdir())) == 5
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "tasks").iterdir()}
    again = sweep(grid, SETS, engine, settings=FEW, store=store)
    assert again.to_json() == found.to_json()
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "tasks").iterdir()} == times


def test_metrics_are_named_beside_the_suite_and_decide_the_task(grid: Grid, tmp_path: Path) -> None:
    one = replace(grid, layers=(1,), directions={"a": grid.directions["a"]})
    store, engine = TaskStore(tmp_path / "tasks"), make_engine("here")
    sweep(one, SETS, engine, settings=FEW, store=store)
    wide = replace(one, metrics=("refusal-odds", "first-token", "language"))
    (found,) = sweep(wide, SETS, engine, settings=FEW, store=store).evaluations.values()
    assert found.score("add(a, strength=1.0) @ 1", "refusal-odds", "harmful_odds").n == 2
    assert found.score("add(a, strength=1.0) @ 1", "language", "cross_entropy").n > 1
    assert found.difference("add(a, strength=1.0) @ 1", "language", "cross_entropy") is not None
    assert found.score("add(a, strength=1.0) @ 1", "first-token", "first_token_kl").n == 2
    assert len(list((tmp_path / "tasks").iterdir())) == 4  # two conditions, by two sets of metrics
    sweep(replace(one, metrics=("first-token",)), SETS, engine, settings=FEW, store=store)
    assert len(list((tmp_path / "tasks").iterdir())) == 4  # the suite has that one already
    for name, said in (("joy", "no metric called 'joy'"), ("readouts", "needs more than its name")):
        with pytest.raises(UsageError, match=said):
            replace(one, metrics=(name,))


def test_every_condition_is_asked_for_the_refusal_tokens_of_the_search(
    grid: Grid, tmp_path: Path, llama: Subject
) -> None:
    known = replace(Direction.load(grid.directions["a"]), quality={"refusal_token/0": 7.0})
    path = known.save(tmp_path / "known.safetensors")
    one = replace(grid, layers=(1,), directions={"a": path}, metrics=("refusal-odds",), controls=True)
    store = TaskStore(tmp_path / "tasks")
    (found,) = sweep(one, SETS, make_engine("here"), settings=FEW, store=store).evaluations.values()
    rows = llama.batches(token_rows(llama, SETS["harmful"]), 32)
    expected = sum(metric_of(llama, rows, Recipe(), (7,))) / len(SETS["harmful"])
    assert found.score("baseline", "refusal-odds", "harmful_odds").value == pytest.approx(expected, abs=1e-4)


def test_every_engine_finds_the_same(grid: Grid, tmp_path: Path) -> None:
    here = sweep(grid, SETS, make_engine("here"), settings=FEW, store=TaskStore(tmp_path / "here"))
    there = sweep(grid, SETS, make_engine("joblib", workers=2), settings=FEW, store=TaskStore(tmp_path / "there"))
    assert here.to_json() == there.to_json()
    for file in (tmp_path / "here").iterdir():
        assert (tmp_path / "there" / file.name).read_bytes() == file.read_bytes()


def test_a_failing_recipe_costs_its_own_row_and_the_run_stays_open(
    grid: Grid, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    wide = Grid(grid.models, RECIPE, grid.directions, (1, 99), (1.0,), dtype="float32", controls=False)
    folder = record_sweep(wide, SETS, make_engine("here"), settings=FEW, out=tmp_path / "r")
    results = folder.results()
    assert len(results["failures"]) == 2
    assert all("layers 0-2" in why for why in results["failures"].values())
    assert len(results["models"][grid.models[0]]["scores"]) > 0
    assert not folder.done


def test_a_finished_sweep_derives_again(grid: Grid, tmp_path: Path) -> None:
    folder = record_sweep(grid, SETS, make_engine("here"), settings=FEW, out=tmp_path / "r")
    assert folder.done
    assert {"sweep.csv", "sweep.parquet", "conditions.jsonl"} <= set(folder.manifest.artefacts)
    assert rederive_sweep(RunFolder.open(folder.path)) == []
    rows = folder.path / "conditions.jsonl"
    rows.write_text(rows.read_text().replace('"first_token_kl": ', '"first_token_kl": 1', 1))
    assert rederive_sweep(RunFolder.open(folder.path))


def test_every_recipe_of_a_sweep_is_a_file_that_knows_the_prompts_it_is_chosen_by(grid: Grid, tmp_path: Path) -> None:
    folder = record_sweep(grid, SETS, make_engine("here"), settings=FEW, out=tmp_path / "r")
    files = folder.results()["recipes"][grid.models[0]]
    assert set(files) == set(grid.recipes())
    kept = {text: Recipe.load(folder.path / file) for text, file in files.items()}
    for text, recipe in kept.items():
        assert recipe.seen == {prompt.digest for side in SETS.values() for prompt in side}
        assert recipe.tuned is not None
        value = next(s.value for s in recipe.tuned.scores if s.name == "harmful/compliance")
        scores = folder.results()["models"][grid.models[0]]["scores"]
        assert value == next(s["value"] for s in scores if s["name"] == f"{text}/harmful/compliance")
    assert len({recipe.digest for recipe in kept.values()}) == 4


def test_controls_are_rows_of_their_own(grid: Grid, tmp_path: Path) -> None:
    one = replace(grid, layers=(1,), directions={"a": grid.directions["a"]}, controls=True)
    found = sweep(one, SETS, make_engine("here"), settings=FEW, store=TaskStore(tmp_path / "tasks"))
    (evaluation,) = found.evaluations.values()
    assert evaluation.conditions == ["baseline", "add(a, strength=1.0) @ 1", "random: add(a, strength=1.0) @ 1"]


def test_a_sweep_cannot_read_a_test_part(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="a sweep would tune"):
        sweep(grid, {"harmful": builtin_prompts("harmful", "test")}, make_engine("here"), settings=FEW)


@pytest.mark.parametrize("recipe", ["add({direction", "add(a, strength={strength:q}) @ 1", "add({direction!r}) @ 1"])
def test_a_recipe_with_broken_braces_is_one_sentence(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        Grid(("m",), recipe, {"a": tmp_path}, (1,), (1.0,))


def test_another_template_or_another_direction_is_another_task(
    grid: Grid, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    """The model's folder is copied, its template changed, and nothing of the first sweep is taken for the second's."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folders["llama"], folder)
    one = replace(grid, models=(str(folder),), layers=(1,))
    store = TaskStore(tmp_path / "tasks")
    before = sweep(one, SETS, make_engine("here"), settings=FEW, store=store)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# #}Well, ")
    opened.cache_clear()
    after = sweep(one, SETS, make_engine("here"), settings=FEW, store=store)
    assert before.to_json() != after.to_json()
    assert len(list((tmp_path / "tasks").iterdir())) == 6
