"""A sweep into a run folder: `workbench sweep`, and the same from a script."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas

from workbench.directions import load_asset
from workbench.evaluation import Settings, make_judge
from workbench.evaluation.holdout import chosen_by, identity_of
from workbench.evaluation.metrics import Observed
from workbench.evaluation.rederiving import from_stored
from workbench.evaluation.replies import Measured, judged
from workbench.interventions import Recipe
from workbench.prompts import Prompts
from workbench.runs import RunFolder, RunManifest, digest_json, note, write_json, writing
from workbench.runs.engines import Engine
from workbench.runs.folder import RESULTS
from workbench.statistics import Score
from workbench.studies.sweep.condition import default_precision, opened, recipe_of
from workbench.studies.sweep.grid import Grid, grid_json
from workbench.studies.sweep.sweep import Swept, sweep

ROWS = "conditions.jsonl"


def record_sweep(
    grid: Grid,
    sets: Mapping[str, Prompts],
    engine: Engine,
    *,
    suite: str = "quick",
    settings: Settings | None = None,
    judge: str = "local",
    out: Path | None = None,
) -> RunFolder:
    """Sweep into a run folder. One with failures stays open: the same command tries them again."""
    how, whole = settings or Settings(), grid.suite(suite)
    assets = {name: load_asset(path) for name, path in grid.directions.items()}
    said: dict[str, Any] = {
        "grid": grid_json(grid, assets),
        "suite": suite,
        "judge": make_judge(judge).identity,
    } | asdict(how)
    said |= whole.to_json() | {"metrics": [metric.identity for metric in whole.metrics]}
    dtype = grid.dtype or default_precision()
    models = {model: digest_json(opened(model, dtype).identity) for model in grid.models}
    name = {"name": grid.models[0] if len(models) == 1 else f"{len(models)}-models"} | models
    data = identity_of(sets)
    folder = RunFolder.start(RunManifest(command="sweep", settings=said, model=name, data=data), out)
    if folder.done:
        note(f"This sweep was finished before; its result is in {folder.path}.")
        return folder
    with folder.timed("sweep"):
        swept = sweep(grid, sets, engine, suite=suite, settings=how, judge=judge)
    write_rows(folder, swept)
    files = write_recipes(folder, swept, {text: recipe_of(text, assets) for text in grid.recipes()}, how)
    table = table_of(swept)
    with writing(folder.path / "sweep.csv") as draft:
        table.to_csv(draft, index=False)
    with writing(folder.path / "sweep.parquet") as draft:
        table.to_parquet(draft, index=False)
    scores = [
        score.model_copy(update={"name": f"{model}/{score.name}"})
        for model, evaluation in swept.evaluations.items()
        for score in evaluation.scores()
    ]
    results = swept.to_json() | {"recipes": files, "metrics": list(grid.metrics)}
    if swept.failures:
        write_json(folder.path / RESULTS, results)
        note(f"{len(swept.failures)} tasks failed ({_first(swept)}); the same command tries them again.")
    else:
        folder.finish(results, scores)
    return folder


def table_of(swept: Swept) -> pandas.DataFrame:
    """One row a model and score."""
    tables = [evaluation.to_pandas().assign(model=model) for model, evaluation in swept.evaluations.items()]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame()


def write_rows(folder: RunFolder, swept: Swept) -> None:
    """Write down what every number follows from, once."""
    with writing(folder.path / ROWS) as draft:
        lines = [
            json.dumps({"model": model, kind: part.model_dump(mode="json")}, ensure_ascii=False)
            for model, evaluation in swept.evaluations.items()
            for kind, parts in (("replies", evaluation.measured), ("observed", evaluation.observed))
            for part in parts
        ]
        draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_recipes(
    folder: RunFolder, swept: Swept, recipes: Mapping[str, Recipe], how: Settings
) -> dict[str, dict[str, str]]:
    """Each recipe of each model as a file, which carries the prompts that whoever picks it has chosen by."""
    files: dict[str, dict[str, str]] = {}
    by = f"sweep, replies of {how.max_new_tokens} tokens"
    for model, evaluation in swept.evaluations.items():
        files[model] = {}
        for text in (text for text in recipes if text in evaluation.conditions):
            name = f"recipe-{sum(map(len, files.values())) + 1}.json"
            recipes[text].tuned_by(chosen_by(evaluation, text, by)).save(folder.path / name)
            files[model][text] = name
    return files


def rederive_sweep(folder: RunFolder) -> list[str]:
    """What of a sweep does not follow from its replies and values, one sentence each."""
    faults, recorded = [], folder.results()["models"]
    rows = folder.journal(ROWS, dict)
    judge = make_judge(folder.manifest.settings["judge"]["name"])
    same = judge.identity == folder.manifest.settings["judge"]
    if not same:
        faults.append("The judge has changed since; its verdicts were not called again.")
    if set(recorded) | {row["model"] for row in rows} != {row["model"] for row in rows}:
        faults.append("The results are of other models than the stored replies.")
    scores: list[Score] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        results = recorded.get(model)
        if results is None:
            faults.append(f"{model} is missing in the results.")
            continue
        parts = [Measured.model_validate(r["replies"]) for r in rows if r["model"] == model and "replies" in r]
        again = [p.model_copy(update={"replies": judged(p.replies, judge)}) for p in parts] if same else parts
        observed = [Observed.model_validate(r["observed"]) for r in rows if r["model"] == model and "observed" in r]
        evaluation = from_stored(results, again, observed, judge if same else None)
        scores += [score.model_copy(update={"name": f"{model}/{score.name}"}) for score in evaluation.scores()]
        found = evaluation.to_json()
        faults += [
            f"The {key} of {model} do not follow from the stored replies and values."
            for key, value in found.items()
            if json.loads(json.dumps(value)) != results.get(key)
        ]
    if scores != folder.manifest.scores:
        faults.append("The scores in the manifest do not follow from the stored replies and values.")
    return faults


def _first(swept: Swept) -> str:
    name, why = next(iter(swept.failures.items()))
    return f"{name}: {why}"
