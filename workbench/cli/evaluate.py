"""workbench evaluate"""

from typing import Annotated

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import evaluation_tables, show, watching


def command(
    model: o.Model,
    recipe: r.Text = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    harmful: Annotated[str, typer.Option(help="Harmful test prompts: a set or a file.")] = "harmful:test",
    harmless: Annotated[str, typer.Option(help="Harmless test prompts: a set or a file.")] = "harmless:test",
    n: Annotated[int | None, typer.Option("--n", min=1, help="Prompts of each, evenly over categories.")] = None,
    judge: Annotated[str, typer.Option(help="Who calls the outcome of a reply.")] = "phrase",
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
    """What a recipe changes: refusal on harmful and harmless prompts, and KL, against baseline and control."""
    with watching():
        from workbench.evaluation import record_evaluation, unseen

        edited = r.read_recipe(recipe, r.Names.of(direction), ablate, add)
        prompts = o.sampled(unseen(o.read_sides(harmful, harmless), [edited]), n, seed)
        subject = o.open_subject(model, dtype, device, device_map, quantisation, chat_template)
        folder = record_evaluation(
            subject,
            edited,
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            judge=judge,
            seed=seed,
            out=out,
        )
    results = folder.results() | {"run": str(folder.path)}
    where = (
        f"Recipe: {results['recipe']}. The run is in {folder.path}; `workbench runs verify {folder.path}` checks it."
    )
    show(results, json, *evaluation_tables(results), where)
