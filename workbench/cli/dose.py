"""workbench dose"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import interval, percent, show, table, watching
from workbench.cli.evaluations import judged_by

Doses = Annotated[str | None, typer.Option(help="Such as 0.25,0.5,1; default: 0.25 to 2.")]
Control = Annotated[str, typer.Option(help="What is turned: a control of the recipe's edits.")]
Goal = Annotated[str, typer.Option(help="comply: with harmful requests; refuse: harmless ones.")]


def command(
    model: o.Model,
    recipe: r.Text = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    doses: Doses = None,
    control: Control = "strength",
    goal: Goal = "comply",
    works: Annotated[float, typer.Option(help="Share of prompts at which a dose works.")] = 0.8,
    kl_limit: Annotated[float, typer.Option(help="Mean KL at later tokens above which a dose does harm, nats.")] = 0.2,
    broken_limit: Annotated[float, typer.Option(help="Share of broken replies above which a dose does harm.")] = 0.1,
    no_controls: o.NoControls = False,
    harmful: Annotated[str, typer.Option(help="Harmful validation prompts: a set or a file.")] = "harmful:val",
    harmless: Annotated[str, typer.Option(help="Harmless validation prompts: a set or a file.")] = "harmless:val",
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts of each, evenly over categories.")] = 24,
    max_new_tokens: o.Tokens = 48,
    batch_size: o.BatchSize = 32,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """The window between too little and too much; writes a run folder."""
    with watching():
        from workbench.evaluation import Settings, unseen
        from workbench.prompts import ContrastPairs
        from workbench.studies import DoseSettings, record_dose

        edited = r.read_recipe(recipe, r.Names.of(direction), ablate, add)
        turned = DoseSettings(
            control,
            o.decimals(doses, "--doses") or DoseSettings.doses,
            goal,
            works,
            kl_limit,
            broken_limit,
            not no_controls,
        )
        sets = unseen(o.read_sides(harmful, harmless), [edited])
        pairs = ContrastPairs(sets["harmful"].sample(n, seed), sets["harmless"].sample(n, seed))
        subject = o.open_subject(model, dtype, device)
        how = Settings(max_new_tokens, batch_size, seed)
        folder = record_dose(subject, edited, pairs, dose=turned, settings=how, out=out)
    results = folder.results() | {"run": str(folder.path)}
    what = "the recipe as it was given" if results.get("chosen") is None else f"the dose {results['chosen']:g}"
    where = (
        f"The run is in {folder.path} (dose.html, scores.csv, replies.parquet); `workbench evaluate {model} --recipe "
        f"{folder.path}` reports {what} on prompts that it was not chosen by."
    )
    show(results, json, *dose_tables(results), where)


def dose_tables(results: Mapping[str, Any]) -> list[Any]:
    """One row a dose, and the window in a sentence."""
    asked = "harmful" if results["settings"]["goal"] == "comply" else "harmless"
    wanted = "compliance" if results["settings"]["goal"] == "comply" else "refusal"
    rows = [["0", percent(results["baseline"]), "", "", "", "", ""]] + [_row(row) for row in results["doses"]]
    title = f"{wanted.capitalize()} of {asked} prompts by dose (n={results['baseline']['n']})"
    columns = ("dose", wanted, "random control", "KL, later tokens", "broken", "wrong way", "harm")
    never = (
        f"{results['never']} of {len(results['own_doses'])} prompts have no dose from which on they change for good."
    )
    judged = f"Outcomes by the {judged_by(results['evaluation'])}. * works."
    return [table(title, columns, rows), judged, f"{results['said'].capitalize()}. {never}"]


def _row(row: Mapping[str, Any]) -> list[str]:
    control, wrong = row["control"], row["wrong_way"]
    return [
        f"{row['dose']:g}{' *' if row['works'] else ''}",
        percent(row["aimed_at"]),
        percent(control) if control else "",
        interval(row["kl"]),
        percent(row["broken"]),
        percent(wrong) if wrong else "",
        row["harm"],
    ]
