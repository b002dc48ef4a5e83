"""Dose-response: on what ships, on a study of the tiny model, and on runs that are damaged."""

import json
from collections.abc import Callable

import pytest

from tests.conftest import random_direction
from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import damage, worked
from workbench.dashboard.parts.dosed import read_dose
from workbench.dashboard.sources import SHIPPED, Source
from workbench.evaluation import Settings
from workbench.interventions import Add
from workbench.models import Subject
from workbench.plots.doses import Panel, dose_panels, doses_figure
from workbench.prompts import builtin_pairs
from workbench.runs import RunFolder
from workbench.statistics import Score, rate_score
from workbench.studies import DoseSettings, record_dose

Runs = Callable[[], RunFolder]


@pytest.fixture
def dosed(long_llama: Subject) -> Runs:
    """A study of the tiny model, in the runs folder of the test."""
    val = builtin_pairs("val")
    pairs = val.sample(3, 0)
    recipe = Add(random_direction(long_llama)).at(1)
    dose = DoseSettings(doses=(1.0, 0.5), goal="refuse")
    return lambda: record_dose(long_llama, recipe, pairs, dose=dose, settings=Settings(max_new_tokens=3))


def test_it_opens_on_what_ships_and_says_the_window(opens: Opens) -> None:
    page = opens("dose")
    assert not page.exception, page.exception
    assert page.title[0].value == "Dose-response"
    assert "works without harm from 0.75 to 1" in page.text[0].value
    said = "\n".join(caption.value for caption in page.caption)
    assert "validation prompts, and the window was chosen on them" in said
    assert "kappa 0.64" in said


def test_what_ships_has_every_measure_with_its_control_and_no_reply() -> None:
    shipped = read_dose(Source(SHIPPED))
    assert [panel.share for panel in shipped.panels.values()] == [True] * 5 + [False]
    assert all(len(panel.points) == 7 and len(panel.control) == 6 for panel in shipped.panels.values())
    assert all(score.n >= 24 and score.low is not None for p in shipped.panels.values() for _, score in p.points)
    assert set(shipped.table["condition"]) == {"baseline", "recipe", "random control"}
    written = json.dumps(shipped.held)
    assert "reply" not in written
    assert "prompt" not in written


def test_the_figure_shades_the_window_and_draws_what_is_allowed() -> None:
    score = rate_score("share", 3, 10, "higher")
    panels = {
        "refusal, harmful prompts": Panel([(0.0, score), (1.0, score)], [(1.0, score)], limit=0.8),
        "KL": Panel([(0.0, score), (1.0, score)], [], share=False, limit=0.2),
    }
    figure = doses_figure(panels, "dose (strength)", (-0.5, -1.0))
    windows = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert len(windows) == 2
    assert windows[0].x0 < -1.0 < -0.5 < windows[0].x1
    assert [shape.y0 for shape in figure.layout.shapes if shape.type == "line"] == [80.0, 0.2]
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [trace.name for trace in lines] == ["random control (n=10), 95 %", "recipe (n=10), 95 %"] * 1 + [
        "recipe (n=10), 95 %"
    ]
    assert list(lines[1].y) == [30.0, 30.0]
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert max(bands[0].y) == pytest.approx(100 * float(score.high or 0))
    titles = {figure.layout.yaxis.title.text, figure.layout.yaxis2.title.text}
    assert titles == {"replies (%)", "KL (nats)"}
    assert not [shape for shape in doses_figure(panels, "dose", None).layout.shapes if shape.type == "rect"]


def test_the_aim_has_the_line_and_broken_replies_are_counted_over_both_sets() -> None:
    def read(condition: str, group: str, measure: str) -> Score:
        return rate_score(measure, 1 if group == "harmful" else 3, 4, "lower")

    panels = dose_panels(read, [(1.0, "1")], [(1.0, "random 1")], ("harmless", "refusal"), (0.8, 0.1, 0.2))
    limits = {title: panel.limit for title, panel in panels.items()}
    assert limits["over-refusal, harmless prompts"] == 0.8
    assert limits["coherent compliance, harmful prompts"] is None
    broken = panels["broken replies, all prompts"].points[0][1]
    assert (broken.value, broken.n) == (0.5, 8)


def test_a_study_of_the_runs_folder_is_shown_with_its_command(opens: Opens, dosed: Runs) -> None:
    run = dosed()
    page = opens("dose")
    page.selectbox(key="study").set_value(Source(run.path.name, run.path)).run()
    assert not page.exception, page.exception
    assert page.text[0].value.startswith(run.results()["recipe"])
    codes = [code.value for code in page.code]
    assert any("workbench dose" in code and "--goal refuse" in code for code in codes)
    table = read_dose(Source(run.path.name, run.path)).table
    row = table[(table["measure"] == "over-refusal, harmless prompts") & (table["dose"] == 1.0)]
    recorded = {score["name"]: score for score in run.results()["evaluation"]["scores"]}
    assert row.iloc[0]["value"] == recorded["1/harmless/refusal"]["value"]


@pytest.mark.parametrize("written", ["{", "[]", "{}", '{"settings": {"doses": [1], "controls": false}}'])
def test_a_damaged_study_is_said_in_a_sentence(opens: Opens, dosed: Runs, written: str) -> None:
    run = dosed()
    (run.path / "results.json").write_text(written)
    page = opens("dose")
    assert run.path.name in damage(page, "study", run)


def test_a_direction_of_the_shelf_is_measured_from_the_page(opens: Opens) -> None:
    page = opens("dose")
    page.slider(key="n").set_value(4).run()
    page.button_group(key="sizes").set_value([0.5]).run()
    assert "24 replies of 32 tokens" in "\n".join(caption.value for caption in page.caption)
    job = worked(page, "dose")
    assert any(job.result in option for option in page.selectbox(key="study").options)


def test_nothing_is_measured_without_a_dose(opens: Opens) -> None:
    page = opens("dose")
    page.button_group(key="sizes").set_value([]).run()
    assert not page.exception, page.exception
    assert page.button(key="start-dose").disabled
