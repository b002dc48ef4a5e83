"""The experiment on attacks: its line holds each rate in its place, and what ships of its run keeps refusals alone."""

from pathlib import Path

from experiments.attacks import COLUMNS, drawn, told
from experiments.listing import experiments
from experiments.shipping.attacks import distil
from tests.conftest import random_direction
from workbench.evaluation import Settings
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts
from workbench.statistics import Score, rate_score
from workbench.studies import record_attacks
from workbench.studies.attacks import ATTACKS, named

RECIPES = ("baseline", "ablated", "added", "random ablated", "random added")
GRID = {named(attack, recipe): (attack, recipe) for attack in ATTACKS for recipe in RECIPES}
PAIRS = ContrastPairs(Prompts.of(["Burn it.", "Steal it."]), Prompts.of(["Bake it.", "Paint it."]))


def scores() -> dict[str, Score]:
    """A rate of its own for each condition; harmless prompts have one more than harmful ones."""
    return {
        name: rate_score(name, 2 * place + ("harmless" in name), 100)
        for place, condition in enumerate(GRID)
        for name in (f"{condition}/{column}" for column in COLUMNS.values())
    }


def test_the_line_says_what_gives_way_and_each_edit_beside_its_control() -> None:
    line = told(scores())
    assert "as the model is: asked plainly 0 % [0, 4], prefill 10 % [6, 17], system prompt 20 %" in line
    assert "ablated: asked plainly 2 % [1, 7] (a random direction 6 %" in line
    assert "added: asked plainly 4 % [2, 10], prefill 14 % [9, 22], system prompt 24 %" in line
    assert "asked plainly, 8 % [4, 15])" in line
    assert "harmless refused, asked plainly: 1 % [0, 5], with refusal added 5 % [2, 11] (n=100)" in line


def test_the_figure_has_an_outcome_a_panel_and_its_controls_apart() -> None:
    figure = drawn(GRID, scores())
    assert len(figure.data) == 2 * len(COLUMNS)
    assert {trace.marker.symbol for trace in figure.data} == {"circle", "circle-open"}
    assert {len(trace.x) for trace in figure.data} == {3 * len(ATTACKS), 2 * len(ATTACKS)}


def test_its_run_ships_with_the_command_that_makes_it(llama: Subject, tmp_path: Path) -> None:
    how = Settings(max_new_tokens=4)
    run = record_attacks(llama, random_direction(llama), PAIRS, settings=how, judge="phrase", out=tmp_path / "attacks")
    found = distil(run.path)
    command, _, name = found["source"]["command"].rpartition(" ")
    assert (command, name in experiments()) == ("workbench experiment run", True)
    assert list(found["grid"]) == list(GRID)
    assert all(not each["text"] for each in found["replies"] if each["asked"] == "harmful")
