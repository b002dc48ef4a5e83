"""Sweeps: models x directions x layers x strengths x metrics, every recipe measured by the same suite.

1. A written recipe with {direction}, {layer} and {strength} in it is filled in with every combination.
2. Of each model, the baseline, each recipe, and each recipe's random control are tasks of their own, named by the
   content that decides their result. What was ever measured so is not measured again, in whichever sweep.
3. An engine runs them: here, in processes, on a Ray cluster. A task that fails costs its own row of the table.
4. Differences from the baseline, their intervals and Holm's correction are computed of what is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.directions import load_asset
from workbench.errors import UsageError
from workbench.evaluation import Evaluation, Settings, make_judge
from workbench.evaluation.comparison import BASELINE
from workbench.evaluation.metrics import Measure, Observed, metrics
from workbench.evaluation.replies import Measured
from workbench.evaluation.suites import Suite
from workbench.prompts import Prompts, for_tuning
from workbench.runs import cache_root, note
from workbench.runs.engines import Engine
from workbench.runs.tasks import Task, TaskResults, TaskStore, run_tasks
from workbench.studies.sweep.condition import FUNCTION, tasks_of
from workbench.studies.sweep.grid import Grid

_MOST = 2000  # tasks


@dataclass(frozen=True)
class Swept:
    """An evaluation of each model, and why some recipes have no row in it."""

    evaluations: Mapping[str, Evaluation]
    failures: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "models": {name: evaluation.to_json() for name, evaluation in self.evaluations.items()},
            "failures": dict(self.failures),
        }


def sweep(
    grid: Grid,
    sets: Mapping[str, Prompts],
    engine: Engine,
    *,
    suite: str = "quick",
    settings: Settings | None = None,
    judge: str = "local",
    store: TaskStore | None = None,
) -> Swept:
    """Measure the whole grid; what is stored already is not measured again.

    Raises PromptError where a set is a test part: whoever compares recipes chooses one.
    """
    how, whole = settings or Settings(), grid.suite(suite)
    for side in sets.values():
        for_tuning(side, "a sweep")
    assets = {name: load_asset(path) for name, path in grid.directions.items()}
    tasks: dict[str, dict[str, Task]] = {}
    for model in grid.models:
        tasks[model] = tasks_of(grid, model, assets, sets, suite, how, judge)
    flat = [task for each in tasks.values() for task in each.values()]
    if len(flat) > _MOST:
        raise UsageError(
            f"This sweep has {len(flat)} tasks, and at most {_MOST} are run at once; leave some values out."
        )
    note(f"{len(flat)} tasks: {len(grid.models)} models, {len(flat) // len(grid.models)} conditions of each.")
    kept = store or TaskStore(cache_root() / "tasks")
    done = run_tasks(FUNCTION, flat, kept, engine)
    return Swept(
        {model: _assembled(each, done, whole, judge) for model, each in tasks.items() if _has_baseline(each, done)},
        {
            f"{m}, {name}": done.failures[t.key].why
            for m, e in tasks.items()
            for name, t in e.items()
            if t.key in done.failures
        },
    )


def _has_baseline(tasks: Mapping[str, Task], done: TaskResults) -> bool:
    return tasks[BASELINE].key in done.results


def _assembled(tasks: Mapping[str, Task], done: TaskResults, suite: Suite, judge: str) -> Evaluation:
    """The evaluation of one model; a task that another sweep has done may have known its condition by another name."""
    replies, observed = [], []
    missing: dict[str, str] = {}
    for name, task in tasks.items():
        if task.key in done.results:
            result = done.results[task.key]
            renamed = {"condition": name}
            replies += [Measured.model_validate(part).model_copy(update=renamed) for part in result["replies"]]
            observed += [Observed.model_validate(part).model_copy(update=renamed) for part in result["observed"]]
            missing |= result["missing"]
    measures: dict[str, Sequence[Measure]] = {
        name: tuple(metric.measured()) for metric in suite.metrics if (name := metrics.name_of(metric)) not in missing
    }
    agreement = make_judge(judge).agreement
    return Evaluation(tuple(replies), tuple(observed), measures, judge, agreement, {}, missing)
