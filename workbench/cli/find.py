"""workbench find"""

from typing import Annotated

import typer

from workbench.cli import options as o
from workbench.cli.display import found_tables, show, watching


def command(
    model: o.Model,
    harmful: o.Positive = "harmful:train",
    harmless: o.Negative = "harmless:train",
    harmful_val: Annotated[str | None, typer.Option(help="Validation prompts; default: held out.")] = None,
    harmless_val: Annotated[str | None, typer.Option(help="Validation prompts; default: held out.")] = None,
    n_train: o.NTrain = 128,
    n_val: o.NVal = 32,
    positions: Annotated[str | None, typer.Option(help="Such as -1,-2; default: the post-instruction tokens.")] = None,
    layers: Annotated[str | None, typer.Option(help="Such as 8-20; default: all.")] = None,
    method: Annotated[str, typer.Option(help="How directions are made.")] = "difference-in-means",
    answers: Annotated[tuple[str, str] | None, typer.Option(help="For paired-answers: its two.")] = None,
    search: Annotated[str, typer.Option(help="screened: what could win; exhaustive: all; cosmic.")] = "screened",
    no_filter: o.NoFilter = False,
    refusal_token: Annotated[list[str] | None, typer.Option(help="How refusals begin; may be repeated.")] = None,
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
    """Find and choose a direction; writes a run folder."""
    with watching():
        from workbench.errors import UsageError
        from workbench.search import SearchSettings, record_find
        from workbench.search.finding import draw
        from workbench.search.methods import require_method
        from workbench.search.strategies import strategies

        if (harmful_val is None) != (harmless_val is None):
            raise UsageError("Give both --harmful-val and --harmless-val, or neither.")
        pairs = o.read_sides(harmful, harmless)
        held = o.read_sides(harmful_val, harmless_val) if harmful_val and harmless_val else None
        settings = SearchSettings(
            n_train=n_train,
            n_val=n_val,
            positions=o.numbers(positions, "--positions") or "post_instruction",
            layers=o.numbers(layers, "--layers"),
            filtered=not no_filter,
            method=method,
            answers=answers or SearchSettings.answers,
            strategy=search,
            refusal_starts=tuple(refusal_token) if refusal_token else None,
            batch_size=batch_size,
            seed=seed,
        )
        # What needs no model is said before one is opened.
        require_method(method)
        strategies[search]
        draw(pairs, held, settings)
        subject = o.open_subject(model, dtype, device, device_map, quantisation, chat_template)
        folder = record_find(subject, pairs, validation=held, settings=settings, out=out)
    results = folder.results() | {"run": str(folder.path)}
    where = f"The run is in {folder.path}; try: workbench evaluate {model} --direction {folder.path} --ablate"
    show(results, json, *found_tables(results), where)
