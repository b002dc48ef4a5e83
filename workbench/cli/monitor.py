"""workbench probe monitor"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli import recipes as r
from workbench.cli.display import interval, kept, percent, show, table, told_of, watching
from workbench.cli.generate import read_asked

if TYPE_CHECKING:
    from probes.monitoring import Action, MonitoredReplies
    from workbench.directions.asset import Watchable
    from workbench.prompts import Prompts


def command(
    model: o.Model,
    probe: Annotated[Path, typer.Option(help="What is read: a probe's folder or file, a direction, a concept.")],
    prompt: o.Asked = None,
    prompts: o.Many = None,
    beside: Annotated[str | None, typer.Option(help="Harmless prompts, for the rate of false alarms.")] = None,
    prefill: o.Prefill = "",
    recipe: r.Text = None,
    direction: r.Directions = None,
    ablate: r.Ablated = False,
    add: r.Added = None,
    threshold: Annotated[float | None, typer.Option(help="Alarm above this coordinate; default: the probe's.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End a reply at its alarm, before that token.")] = False,
    switch: Annotated[str | None, typer.Option(help="A recipe to use on a reply from its alarm on.")] = None,
    max_new_tokens: o.Tokens = 32,
    batch_size: o.BatchSize = 16,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the table and the figure.")] = None,
    json: o.Json = False,
) -> None:
    """Read a probe at every token while the model talks; warn, stop, or switch on a recipe at its threshold."""
    with watching():
        from probes.monitoring import Monitor, monitored, plot_first_reads, separation

        asked, names = read_asked(prompt, prompts, None, prefill), r.Names.of(direction)
        # A direction may be there for --switch alone.
        unedited = switch is not None and recipe is None and not ablate and add is None
        under, reads = r.read_recipe(recipe, r.Names() if unedited else names, ablate, add), _watchable(probe)
        action = _action(stop, switch, names)
        monitor = Monitor(reads, _threshold(reads, threshold), action)
        if prompts is not None:
            asked = _unseen(asked, reads)
        harmless = _unseen(_beside(beside, prefill), reads) if beside else None
        subject = o.open_subject(model, dtype, device)
        options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        found = {"prompts": monitored(subject, asked, monitor, under, **options)}
        if harmless is not None:
            found["beside"] = monitored(subject, harmless, monitor, under, **options)
        results: dict[str, Any] = {
            "model": subject.identity, "probe": reads.digest, "site": str(reads.site), "threshold": monitor.threshold,
            "recipe": under.written(names.write), "action": _said(action, names),
        } | {name: _described(each) for name, each in found.items()}  # fmt: skip
        if "beside" in found:
            results["separation"] = separation(found["prompts"], found["beside"]).model_dump()
        if out is not None:
            figures = {"monitor": found["prompts"].plot(), "first": plot_first_reads(found)}
            results["files"] = kept(out, "monitor", results, figures)
    show(results, json, *tables(results))


def _watchable(path: Path) -> "Watchable":
    from workbench.directions.asset import Watchable
    from workbench.errors import UsageError

    found = r.load_folder(path)
    if not isinstance(found, Watchable):
        raise UsageError(f"{path} has no coordinate that could be watched; give a probe, a direction or a concept.")
    return found


def _threshold(reads: "Watchable", given: float | None) -> float:
    from workbench.errors import UsageError

    found = getattr(reads, "alarm", None) if given is None else given
    if found is None:
        raise UsageError("What is read has no threshold of its own; give --threshold COORDINATE, or a fitted probe.")
    return float(found)


def _action(stop: bool, switch: str | None, names: r.Names) -> "Action":
    from probes.monitoring import Stop, Switch, Warn
    from workbench.errors import UsageError

    if stop and switch is not None:
        raise UsageError("Give either --stop or --switch RECIPE, not both.")
    if switch is not None:
        return Switch(r.read_recipe(switch, names))
    return Stop() if stop else Warn()


def _said(action: "Action", names: r.Names) -> str:
    from probes.monitoring import Switch

    return f"switch to {action.recipe.written(names.write)}" if isinstance(action, Switch) else repr(action)


def _beside(name: str, prefill: str) -> "Prompts":
    found = o.read_set(name, "harmless")
    return found.changed(prefill=prefill) if prefill else found


def _unseen(prompts: "Prompts", reads: "Watchable") -> "Prompts":
    """A set without the prompts that what is read was made from, on which it would shine."""
    from workbench.runs import note

    # A probe knows a prompt as it was fitted to; what the reply begins with changes its digest.
    bare = prompts.changed(prefill="")
    kept = prompts.pick([row for row, prompt in enumerate(bare) if prompt.digest not in reads.seen])
    if len(kept) < len(prompts):
        left_out = len(prompts) - len(kept)
        note(f"{left_out} of {len(prompts)} prompts of {prompts.name} are left out: what is read was made from them.")
    return kept.require(1, "A monitor")


def _described(found: "MonitoredReplies") -> dict[str, Any]:
    return {
        "alarms before a word": found.alarms(within=1).model_dump(),
        "alarms": found.alarms().model_dump(),
        "replies": [
            {"prompt": each.reply.prompt.text, "alarm": each.alarm, "coordinates": list(each.coordinates),
             "reply": each.reply.text}
            for each in found
        ],
    }  # fmt: skip


def tables(results: Mapping[str, Any]) -> list[Any]:
    """How often there was an alarm, and the replies with what was read before their first word and at most."""
    rates = [
        [label, percent(results[key][name]), str(results[key][name]["n"])]
        for key, label in (("prompts", "prompts"), ("beside", "harmless prompts beside"))
        if key in results
        for name, label in (("alarms before a word", f"{label}, before a word"), ("alarms", f"{label}, in all"))
    ]
    rows = [
        [one["prompt"], f"{one['coordinates'][0]:.2f}", f"{max(one['coordinates']):.2f}",
         "-" if one["alarm"] is None else str(one["alarm"]), one["reply"]]
        for one in results["prompts"]["replies"]
    ]  # fmt: skip
    if "separation" in results:
        told = results["separation"]
        rates.append(["prompts against those beside, before a word: AUROC", interval(told), str(told["n"])])
    title = f"{results['site']}, in class gaps; alarm above {results['threshold']:.3f}: {results['action']}"
    return [
        table(title, ("prompt", "before a word", "highest", "alarm at token", "reply"), rows),
        table("Alarms (95 %)", ("of", "value", "n"), rates),
        *told_of(results.get("files")),
    ]
