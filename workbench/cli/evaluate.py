"""workbench evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import judging as j
from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import show, watching
from workbench.cli.evaluations import evaluation_tables

if TYPE_CHECKING:
    from workbench.evaluation import Metric

Suite = Annotated[str, typer.Option(help="quick: replies and first-token KL; full: all that is measured.")]
Readouts = Annotated[
    list[str] | None, typer.Option("--readout", help="A direction or probe to read: NAME=FILE; may be repeated.")
]
Truth = Annotated[Path | None, typer.Option("--truthfulqa", help="TruthfulQA.csv or mc_task.json, if not at hand.")]
HalfWidth = Annotated[
    float, typer.Option(min=0.1, max=50, help="Percentage points, plus or minus: how many prompts would they take?")
]
Tasks = Annotated[list[str] | None, typer.Option("--lm-eval", help="A task of lm-eval; may be repeated.")]


def command(
    model: o.Model,
    recipe: r.Text = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    suite: Suite = "quick",
    harmful: Annotated[str, typer.Option(help="Harmful test prompts: a set or a file.")] = "harmful:test",
    harmless: Annotated[str, typer.Option(help="Harmless test prompts: a set or a file.")] = "harmless:test",
    looks_harmful: o.LooksHarmful = "looks-harmful:test",
    n: Annotated[int | None, typer.Option("--n", min=1, help="Prompts of each, evenly over categories.")] = None,
    half_width: HalfWidth = 10.0,
    metric: o.Metrics = None,
    readout: Readouts = None,
    truthfulqa: Truth = None,
    lm_eval: Tasks = None,
    judge: j.Name = "local",
    judge_model: j.Model = None,
    judge_url: j.Url = None,
    max_new_tokens: o.Tokens = 64,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    device_map: o.DeviceMap = None,
    quantisation: o.Quantisation = None,
    chat_template: o.Template = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """What a recipe changes: outcomes, damage and side effects, against the baseline and live controls."""
    with watching():
        from workbench.evaluation import Settings, record_evaluation, unseen
        from workbench.evaluation.rederiving import asked_for
        from workbench.evaluation.suites import suite as find_suite
        from workbench.evaluation.suites import suite_with
        from workbench.prompts import builtin_pairs

        edited, whole = r.read_recipe(recipe, r.Names.of(direction), ablate, add), find_suite(suite)
        named = {"harmful": harmful, "harmless": harmless, "looks-harmful": looks_harmful}
        sets = unseen({name: o.read_set(named[name], name) for name in whole.sets}, [edited])
        caller, more = j.make(judge, judge_model, judge_url), more_metrics(r.Names.of(readout), lm_eval)
        more += suite_with(suite, metric or ()).metrics[len(whole.metrics) :]
        o.truthfulqa_from(truthfulqa)
        subject = o.open_subject(model, dtype, device, device_map, quantisation, chat_template)
        folder = record_evaluation(
            subject,
            edited,
            {name: side if n is None else side.sample(n, seed) for name, side in sets.items()},
            settings=Settings(max_new_tokens, batch_size, seed),
            suite=suite,
            judge=caller,
            more=more,
            train=builtin_pairs("train") if whole.all_controls else None,
            half_width=half_width / 100,
            out=out,
        )
        results = asked_for(folder, half_width / 100) | {"run": str(folder.path)}
    where = (
        f"Recipe: {results['recipe']}. The run is in {folder.path} (report.html, scores.csv, replies.parquet); "
        f"`workbench runs verify {folder.path}` derives every number again."
    )
    show(results, json, *evaluation_tables(results), where)


def more_metrics(names: r.Names, tasks: list[str] | None) -> "list[Metric]":
    """The metrics that the options add to the suite's."""
    from workbench.errors import UsageError
    from workbench.evaluation.metrics.harness import Harness
    from workbench.evaluation.metrics.readouts import Readouts

    if others := [name for name in names.held if name not in names.directions]:
        raise UsageError(f"{others[0]} is no direction and no probe, so --readout cannot read it.")
    ledger: list[Metric] = [Readouts(tuple(names.directions.items()))] if names.held else []
    return [*ledger, Harness(tuple(tasks))] if tasks else ledger
