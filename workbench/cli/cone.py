"""workbench cone"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, show, table, watching


def command(
    model: o.Model,
    dimension: Annotated[int, typer.Option(help="How many orthogonal axes.")] = 2,
    harmful: o.Positive = "harmful:train",
    harmless: o.Negative = "harmless:train",
    n_train: o.NTrain = 128,
    n_val: o.NVal = 32,
    no_filter: o.NoFilter = False,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Find a refusal cone: orthogonal directions, every mixture of which mediates the behaviour."""
    with watching():
        from workbench.search import SearchSettings
        from workbench.search.cones import record_cone

        settings = SearchSettings(
            n_train=n_train, n_val=n_val, filtered=not no_filter, batch_size=batch_size, seed=seed
        )
        pairs = o.read_sides(harmful, harmless)
        subject = o.open_subject(model, dtype, device)
        folder = record_cone(subject, pairs, dimension, settings=settings, out=out)
    results = folder.results() | {"run": str(folder.path)}
    where = f"The run is in {folder.path}; try: workbench evaluate {model} --recipe {folder.path}"
    show(results, json, *cone_tables(results), where)


def cone_tables(results: Mapping[str, Any]) -> list[Any]:
    """What ablating each axis, what is inside the cone, and the whole span does."""
    scores = results["scores"]
    columns = ("ablated", f"refusal metric on validation prompts (log-odds, n={scores[0]['n']}, 95 %)")
    rows = [(score["name"], interval(score)) for score in scores]
    return [table(f"A cone of {len(results['axes'])} axes", columns, rows)]
