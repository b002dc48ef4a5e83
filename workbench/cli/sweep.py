"""workbench sweep"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, percent, show, table, watching
from workbench.cli.evaluations import judged_by
from workbench.errors import RunError

_RECIPE = "Such as 'add({direction}, strength={strength}) @ {layer}' or 'ablate(refusal) @ all'."
_SHOWN = (("harmful", "compliance"), ("harmful", "refusal"), ("harmless", "refusal"), ("harmless", "broken"))


def command(
    recipe: Annotated[str, typer.Option("--recipe", help=_RECIPE)],
    model: Annotated[list[str], typer.Option("--model", help="A model; may be repeated.")],
    direction: Annotated[list[str] | None, typer.Option(help="NAME=RUN-OR-FILE; may be repeated.")] = None,
    layer: Annotated[str | None, typer.Option(help="Such as 8-20 or 4,8,12.")] = None,
    strength: Annotated[str | None, typer.Option(help="Such as 0.5,1,2.")] = None,
    suite: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    metric: o.Metrics = None,
    harmful: Annotated[str, typer.Option(help="Harmful prompts: a set or a file.")] = "harmful:val",
    harmless: Annotated[str, typer.Option(help="Harmless prompts: a set or a file.")] = "harmless:val",
    looks_harmful: o.LooksHarmful = "looks-harmful:val",
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts of each, evenly over categories.")] = 24,
    judge: Annotated[str, typer.Option(help="local or phrase.")] = "local",
    no_controls: o.NoControls = False,
    engine: Annotated[str, typer.Option(help="here, joblib or ray.")] = "here",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of joblib or of a local Ray.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster, such as 10.0.0.5:6379.")] = None,
    max_new_tokens: o.Tokens = 48,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Models x directions x layers x strengths, each measured once by every metric; writes a run folder."""
    with watching():
        from workbench.evaluation import Settings
        from workbench.evaluation.suites import suite as find_suite
        from workbench.runs.engines import make_engine
        from workbench.studies import Grid, record_sweep

        options = {name: value for name, value in {"workers": workers, "address": address}.items() if value is not None}
        grid = Grid(
            tuple(model), recipe, _named(direction), o.numbers(layer, "--layer") or (),
            o.decimals(strength, "--strength") or (), tuple(metric or ()), dtype, not no_controls,
        )  # fmt: skip
        named = {"harmful": harmful, "harmless": harmless, "looks-harmful": looks_harmful}
        sets = {name: o.read_set(named[name], name).sample(n, seed) for name in find_suite(suite).sets}
        how = Settings(max_new_tokens, batch_size, seed)
        folder = record_sweep(
            grid, sets, make_engine(engine, **options), suite=suite, settings=how, judge=judge, out=out
        )
    results = folder.results() | {"run": str(folder.path)}
    where = (
        f"The run is in {folder.path} (sweep.csv, sweep.parquet); `workbench evaluate MODEL --recipe "
        f"{folder.path / 'recipe-1.json'}` reports a recipe on prompts that it was not chosen by."
    )
    show(results, json, *sweep_tables(results), where)
    if results["failures"]:
        raise RunError(f"{len(results['failures'])} tasks failed; the others are kept, and the same command goes on.")


def sweep_tables(results: Mapping[str, Any]) -> list[Any]:
    """A table for each model, and what failed."""
    found: list[Any] = []
    for model, evaluation in results["models"].items():
        scores = {score["name"]: score for score in evaluation["scores"]}
        names = list(dict.fromkeys(name.rsplit("/", 2)[0] for name in scores))
        shown = [pair for pair in _SHOWN if f"{names[0]}/{pair[0]}/{pair[1]}" in scores]
        files = results.get("recipes", {}).get(model, {})
        also = _also(evaluation, results.get("metrics", ()))
        rows = [
            [
                name,
                *(percent(scores[f"{name}/{g}/{m}"]) for g, m in shown),
                _kl(name, scores),
                *(_cell(scores.get(f"{name}/{each}")) for each in also),
                files.get(name, ""),
            ]
            for name in names
        ]
        n = scores[f"{names[0]}/{shown[0][0]}/{shown[0][1]}"]["n"]
        columns = ("recipe", *(f"{g}: {m}" for g, m in shown), "KL", *also, "file")
        found.append(table(f"{model} (n={n} a set)", columns, rows))
    said = {_judged(evaluation) for evaluation in results["models"].values()}
    found += sorted(said)
    failed = [f"Failed: {name}: {why}" for name, why in results["failures"].items()]
    return [*found, *failed]


def _also(evaluation: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """The measures of the metrics that were named, as their scores are."""
    held = evaluation["measures"]
    return [f"{metric}/{measure['name']}" for metric in metrics for measure in held.get(metric, ())]


def _cell(score: Mapping[str, Any] | None) -> str:
    return "" if score is None else interval(score)


def _judged(evaluation: Mapping[str, Any]) -> str:
    """Who called the outcomes, and what is corrected."""
    return (
        f"Outcomes by the {judged_by(evaluation)}. 95 % intervals. Differences from each model's baseline, corrected "
        "by Holm over all that was measured of the model, are in sweep.csv."
    )


def _kl(name: str, scores: Mapping[str, Any]) -> str:
    for metric in ("divergence/kl", "first-token/first_token_kl"):
        if f"{name}/{metric}" in scores:
            return interval(scores[f"{name}/{metric}"])
    return ""


def _named(given: list[str] | None) -> dict[str, Path]:
    """Files by name, as NAME=FILE."""
    from workbench.cli.recipes import NAMED
    from workbench.errors import UsageError

    found = {}
    for text in given or []:
        match = NAMED.fullmatch(text)
        if match is None:
            raise UsageError(f"--direction {text!r} has no name; write NAME={text}.")
        found[match[1]] = Path(match[2])
    return found
