"""Sweeps: models x directions x layers x strengths x metrics, every recipe measured by the same suite.

1. A written recipe with {direction}, {layer} and {strength} in it is filled in with every combination.
2. Of each model, the baseline, each recipe, and each recipe's random control are tasks of their own, named by the
   content that decides their result. What was ever measured so is not measured again, in whichever sweep.
3. An engine runs them: here, in processes, on a Ray cluster. A task that fails costs its own row of the table.
4. Differences from the baseline, their intervals and Holm's correction are computed of what is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

from workbench.directions import Asset, load_asset
from workbench.errors import RecipeError, RunError, UsageError
from workbench.evaluation import Evaluation, Settings, make_judge, measure, unseen
from workbench.evaluation.comparison import BASELINE
from workbench.evaluation.measuring import ground_of, usable
from workbench.evaluation.metrics import Measure, Metric, Observed, metrics
from workbench.evaluation.replies import Measured
from workbench.evaluation.suites import Suite
from workbench.evaluation.suites import suite as find_suite
from workbench.interventions import Recipe, parse_recipe, random_control
from workbench.models import Subject, open_model
from workbench.prompts import Prompt, Prompts, for_tuning
from workbench.runs import cache_root, note
from workbench.runs.engines import Engine
from workbench.runs.tasks import Task, TaskResults, TaskStore, run_tasks

FUNCTION = "workbench.studies.sweep:measure_one"
CONTROL = "random: "
_MOST = 2000  # tasks


@dataclass(frozen=True)
class Grid:
    """What is swept. `recipe` is written with the places to fill in; `directions` are files by name.

    `metrics` are the names of those to measure by beside the suite's.
    """

    models: tuple[str, ...]
    recipe: str
    directions: Mapping[str, Path] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    dtype: str | None = None
    controls: bool = True

    def __post_init__(self) -> None:
        filled = self._places()
        given = {"direction": self.directions, "layer": self.layers, "strength": self.strengths}
        if unknown := filled - given.keys():
            raise RecipeError(
                f"{{{unknown.pop()}}} cannot be filled in; there are {{direction}}, {{layer}}, {{strength}}."
            )
        for name, values in given.items():
            if (name in filled) and not values:
                raise RecipeError(f"The recipe has {{{name}}} in it, and no --{name} was given to fill it in.")
        if not self.models:
            raise UsageError("A sweep needs a model; give --model.")
        for name in self.metrics:
            by_name(name)

    def _places(self) -> set[str]:
        try:
            parsed = list(Formatter().parse(self.recipe))
        except ValueError as error:
            raise RecipeError(f"The recipe {self.recipe!r} cannot be filled in ({error}); mend its braces.") from None
        if odd := [name for _, name, spec, conversion in parsed if name is not None and (spec or conversion)]:
            raise RecipeError(f"Write {{{odd[0]}}} without anything behind its name.")
        return {name for _, name, _, _ in parsed if name is not None}

    def recipes(self) -> Iterator[str]:
        """Every way to fill the recipe in, once."""
        ways = product(self.directions or ("",), self.layers or ("",), self.strengths or ("",))
        filled = (self.recipe.format(direction=d, layer=la, strength=s) for d, la, s in ways)
        yield from dict.fromkeys(filled)

    def suite(self, name: str) -> Suite:
        """The suite of that name, with the metrics of the grid."""
        return suite_with(name, self.metrics)


def suite_with(name: str, more: Sequence[str]) -> Suite:
    """The suite of that name, and the metrics that are named beside its own."""
    chosen = find_suite(name)
    own = {metrics.name_of(metric) for metric in chosen.metrics}
    added = (by_name(each) for each in dict.fromkeys(more) if each not in own)
    return replace(chosen, metrics=(*chosen.metrics, *added))


def by_name(name: str) -> Metric:
    """The metric of that name; UsageError where there is none, or a name alone does not say what it measures."""
    found = metrics[name]()
    if not found.measured():
        raise UsageError(f"The metric {name!r} needs more than its name, so that no sweep can be made over it.")
    return found


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
        tasks[model] = _tasks(grid, model, assets, sets, suite, how, judge)
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


def measure_one(payload: dict[str, Any]) -> dict[str, Any]:
    """One condition of one model: the task that workers run."""
    subject = opened(payload["model"], payload["dtype"])
    if subject.identity | {"device": ""} != payload["identity"]:
        raise RunError(
            f"{payload['model']} is another model here than where the sweep was asked for; use the same files."
        )
    sets = {name: _prompts(name, rows) for name, rows in payload["sets"].items()}
    how = Settings(**payload["settings"])
    assets = {name: load_asset(Path(path)) for name, path in payload["directions"].items()}
    recipe = recipe_of(payload["recipe"], assets)
    recipe.check_fits(subject)
    if recipe.to_json() != payload["is"]:
        raise RunError(f"A direction of {payload['recipe']} is another one here; use the same files.")
    if payload["control"]:
        recipe = random_control(subject, recipe, sets["harmful"], how.seed, batch_size=how.batch_size)
    name = payload["name"]
    found = measure(
        subject, {name: recipe}, sets, settings=how, suite=suite_with(payload["suite"], payload["metrics"]),
        judge=payload["judge"],
    )  # fmt: skip
    if found.missing.keys() - set(payload["without"]):
        name, why = next((n, why) for n, why in found.missing.items() if n not in payload["without"])
        raise RunError(f"{name} cannot be measured here: {why}")
    return {
        "replies": [part.model_dump(mode="json") for part in found.measured],
        "observed": [part.model_dump(mode="json") for part in found.observed],
        "missing": dict(found.missing),
    }


def _tasks(
    grid: Grid,
    model: str,
    assets: Mapping[str, Asset],
    sets: Mapping[str, Prompts],
    suite: str,
    how: Settings,
    judge: str,
) -> dict[str, Task]:
    """The tasks of one model, by the condition that they measure."""
    precision, whole = grid.dtype or default_precision(), grid.suite(suite)
    subject = opened(model, precision)
    identity = subject.identity | {"device": ""}
    recipes = {text: recipe_of(text, assets) for text in grid.recipes()}
    fresh = unseen(sets, recipes.values())
    _, missing = usable(ground_of(subject, fresh, how, recipes.values()), whole.metrics)
    asked = {name: [prompt.model_dump(mode="json") for prompt in side] for name, side in fresh.items()}
    wanted = [(BASELINE, "", False), *((text, text, False) for text in recipes)]
    if grid.controls:
        wanted += [(CONTROL + text, text, True) for text in recipes]
    found = {}
    for name, text, control in wanted:
        used = {a: str(grid.directions[a].resolve()) for a in grid.directions} if text else {}
        payload = {
            "model": model, "dtype": precision, "recipe": text, "directions": used, "control": control, "sets": asked,
            "suite": suite, "settings": asdict(how), "judge": judge, "name": name, "identity": identity,
            "without": sorted(missing), "metrics": list(grid.metrics),
            "is": recipes[text].to_json() if text else Recipe().to_json(),
        }  # fmt: skip
        decides = {
            "model": identity, "recipe": payload["is"], "control": control, "without": sorted(missing),
            "sets": {name: side.digest for name, side in fresh.items()}, "suite": suite, "settings": asdict(how),
            "judge": make_judge(judge).identity, "metrics": [m.identity for m in whole.metrics],
            "replies": whole.to_json(),
        }  # fmt: skip
        found[name] = Task.of(FUNCTION, payload, decides)
    return found


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


def recipe_of(text: str, assets: Mapping[str, Asset]) -> Recipe:
    """The recipe that is written so; empty where nothing is."""
    if not text:
        return Recipe()

    def find(name: str) -> Asset:
        if name not in assets:
            raise RecipeError(f"There is no direction called {name!r}; give --direction {name}=FILE.")
        return assets[name]

    return parse_recipe(text, find)


def _prompts(name: str, rows: Sequence[dict[str, Any]]) -> Prompts:
    return Prompts(tuple(Prompt.model_validate(row) for row in rows), name)


def default_precision() -> str:
    """The dtype that models are opened in where none is given."""
    from workbench.models.loading import default_device, default_dtype

    return str(default_dtype(default_device())).removeprefix("torch.")


@lru_cache(maxsize=1)
def opened(model: str, dtype: str) -> Subject:
    """The model of this process: tasks of one model come one after the other, and it is opened once."""
    return open_model(model, dtype=dtype)


def grid_json(grid: Grid, assets: Mapping[str, Asset]) -> dict[str, Any]:
    """The grid as a manifest keeps it: directions by content, not by place."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(grid).items()}
    return plain | {"directions": {name: asset.digest for name, asset in assets.items()}}
