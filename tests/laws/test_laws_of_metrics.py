"""Laws of every registered metric: the same twice, the same items under every recipe, nothing from a no-op."""

import json
from pathlib import Path

import pytest

from tests.conftest import random_direction
from tests.harness_tasks import write_tasks
from workbench.evaluation import Evaluation, Ground, Metric, Observed, metrics
from workbench.evaluation.metrics.harness import Harness
from workbench.evaluation.metrics.readouts import Readouts
from workbench.interventions import Add, Recipe
from workbench.models import Subject
from workbench.prompts import Prompts

METRICS = tuple(metrics)
ASKED = Prompts.of(["Tell me a story.", "Why?", "Name a river.", "What is the tallest mountain on the moon?"])
TRUTH = [
    {"question": question, "mc1_targets": {right: 1, wrong: 0}, "mc2_targets": {right: 1, "Hardly.": 1, wrong: 0}}
    for question, right, wrong in (("Is the sky green?", "No.", "Yes."), ("Can pigs fly?", "Never.", "At night."))
]


@pytest.fixture
def ground(long_llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    file = tmp_path / "mc_task.json"
    file.write_text(json.dumps(TRUTH))
    monkeypatch.setenv("WORKBENCH_TRUTHFULQA", str(file))
    other = Prompts.of(["Sing.", "What is a fjord?"])
    sets = {"harmful": other, "harmless": ASKED, "looks-harmful": ASKED}
    return Ground(long_llama, sets, batch_size=3, max_new_tokens=5, refusal_tokens=(40, 41))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of lm-eval tasks, with a place of its own for their data."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return write_tasks(tmp_path / "tasks")


def made(name: str, subject: Subject, tasks: Path) -> Metric:
    if name == "harness":
        return Harness(("workbench_options",), 6, tasks)
    if name == "readouts":
        return Readouts((("first", random_direction(subject, 1)), ("second", random_direction(subject, 2, layer=2))))
    return metrics[name]()


@pytest.fixture(params=METRICS)
def metric(request: pytest.FixtureRequest, ground: Ground, tasks: Path) -> Metric:
    """Every registered metric in turn; one that cannot be measured here is a fault of this test."""
    found = made(request.param, ground.subject, tasks)
    assert not found.missing(ground)
    return found


def test_law_12_a_metric_gives_the_same_values_twice(metric: Metric, ground: Ground) -> None:
    recipe = Add(random_direction(ground.subject)).at("all")
    assert list(metric.observe(ground, recipe)) == list(metric.observe(ground, recipe))


def test_law_1_a_no_op_changes_no_value(metric: Metric, ground: Ground) -> None:
    plain, idle = (metric.observe(ground, r) for r in (Recipe(), Add(random_direction(ground.subject), 0.0).at("all")))
    assert list(plain) == list(idle)
    name_of = metrics.name_of(metric)
    parts = tuple(
        Observed(condition=c, metric=name_of, items=tuple(i)) for c, i in (("baseline", plain), ("treated", idle))
    )
    found = Evaluation((), parts, {name_of: tuple(metric.measured())}).differences()
    assert found or all(measure.distance for measure in metric.measured())
    assert all((d.value, d.says) == (0.0, "no difference shown") for d in found)


def test_an_edit_that_moves_every_token_is_seen_on_the_same_items(metric: Metric, ground: Ground) -> None:
    plain = metric.observe(ground, Recipe())
    moved = metric.observe(ground, Add(random_direction(ground.subject, 5), 3.0).at("all"))
    assert [item.key for item in plain] == [item.key for item in moved]
    assert len({item.key for item in plain}) == len(plain)
    assert [item.values for item in plain] != [item.values for item in moved]
    given = {name for item in (*plain, *moved) for name in item.values}
    assert given == {measure.name for measure in metric.measured()}  # none that it did not declare, and each of those


def test_what_decides_a_metric_can_be_written_down(metric: Metric) -> None:
    assert json.loads(json.dumps(metric.identity))["name"] == metrics.name_of(metric)
