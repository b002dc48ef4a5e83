"""workbench evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli import options as o
from workbench.cli.display import evaluation_tables, show, watching

if TYPE_CHECKING:
    from workbench.prompts import ContrastPairs


def command(
    model: o.Model,
    recipe: o.RecipeFile = None,
    direction: o.DirectionFile = None,
    ablate: o.Ablated = False,
    add: o.Added = None,
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
        from workbench.evaluation import record_evaluation

        prompts = o.sampled(_unseen(o.read_sides(harmful, harmless, None, seed), direction), n, seed)
        edited = o.read_recipe(recipe, direction, ablate, add)
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


def _unseen(prompts: "ContrastPairs", direction: Path | None) -> "ContrastPairs":
    """Leave out every prompt that the search for the direction saw."""
    from workbench.prompts import ContrastPairs
    from workbench.runs import note, read_json
    from workbench.search.recorded import SEEN

    run = direction if direction is None or direction.is_dir() else direction.parent
    if run is None or not (run / SEEN).exists():
        return prompts
    seen = set(read_json(run / SEEN))
    kept = [side.without(seen) for side in (prompts.positive, prompts.negative)]
    left_out = len(prompts.positive) + len(prompts.negative) - len(kept[0]) - len(kept[1])
    if left_out:
        note(f"{left_out} prompts are left out: the search for the direction saw them.")
    return ContrastPairs(*(side.require(1, "A test set, without what the search saw,") for side in kept))
