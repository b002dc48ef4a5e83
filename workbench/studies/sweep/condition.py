"""One condition of one model: the task that says it, and how a worker measures it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.directions import Asset, load_asset
from workbench.errors import RecipeError, RunError
from workbench.evaluation import Settings, make_judge, measure, unseen
from workbench.evaluation.comparison import BASELINE
from workbench.evaluation.holdout import identity_of
from workbench.evaluation.measuring import ground_of, usable
from workbench.evaluation.suites import suite_with
from workbench.interventions import Recipe, parse_recipe, random_control
from workbench.models import Subject, open_model
from workbench.prompts import Prompt, Prompts
from workbench.runs.tasks import Task
from workbench.studies.sweep.grid import Grid

FUNCTION = "workbench.studies.sweep.condition:measure_one"
CONTROL = "random: "


def tasks_of(
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
    ground = ground_of(subject, fresh, how, recipes.values())
    _, missing = usable(ground, whole.metrics)
    refusal = {"refusal_tokens": list(ground.refusal_tokens)} if ground.refusal_tokens else {}  # one for all conditions
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
        } | refusal  # fmt: skip
        decides = {
            "model": identity, "recipe": payload["is"], "control": control, "without": sorted(missing),
            "sets": identity_of(fresh), "suite": suite, "settings": asdict(how),
            "judge": make_judge(judge).identity, "metrics": [m.identity for m in whole.metrics],
            "replies": whole.to_json(),
        } | refusal  # fmt: skip
        found[name] = Task.of(FUNCTION, payload, decides)
    return found


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
        judge=payload["judge"], refusal_tokens=tuple(payload.get("refusal_tokens", ())),
    )  # fmt: skip
    if found.missing.keys() - set(payload["without"]):
        name, why = next((n, why) for n, why in found.missing.items() if n not in payload["without"])
        raise RunError(f"{name} cannot be measured here: {why}")
    return {
        "replies": [part.model_dump(mode="json") for part in found.measured],
        "observed": [part.model_dump(mode="json") for part in found.observed],
        "missing": dict(found.missing),
    }


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
