"""workbench audit-weights"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, show, table, watching

Base = Annotated[str, typer.Option(help="The model that it was made from: a name as everywhere.")]
Along = Annotated[Path | None, typer.Option("--direction", help="A find run or a direction file of the base.")]
Figure = Annotated[Path | None, typer.Option("--out", help="An .html file for the figure.")]
_KINDS = ("embed", "pos_embed", "attn_out", "mlp_out")


def command(
    suspect: Annotated[str, typer.Argument(help="The checkpoint: a name, a folder of safetensors, or a .gguf file.")],
    base: Base,
    direction: Along = None,
    out: Figure = None,
    json: o.Json = False,
) -> None:
    """What was done to a checkpoint, from its weights alone; neither model is opened or run."""
    with watching():
        from workbench.directions import Direction
        from workbench.runs import write_figure
        from workbench.weights.audit import audit_weights

        known = Direction.load(direction) if direction is not None else None
        audit = audit_weights(suspect, base, direction=known)
        if out is not None:
            write_figure(out, audit.plot())
    results = audit.to_json() | ({"figure": str(out)} if out is not None else {})
    show(results, json, *audit_tables(results), *([f"The figure is in {out}."] if out is not None else []))


def audit_tables(results: Mapping[str, Any]) -> list[Any]:
    """The verdict with its error rates, the edit if there is one, a row for each kind of writer, and the notes."""
    tensors = results["tensors"]
    changed = sum(one["status"] == "changed" for one in tensors)
    head = f"{results['suspect']}: {results['verdict']}. {changed} of {len(tensors)} tensors changed."
    wrong = f"Unedited checkpoints that are called edited: {_rates(results['false_positives'])}; 95 % intervals."
    if not results["directions"]:
        wrong += f" Edited ones that are found: {_rates(results['detections'])}."
    rows = [row for kind in _KINDS if (row := _row(kind, results))]
    columns = ("writes", "matrices changed", "change", "rank", "dose", "fit", "still written")
    shown = [table(f"What writes to the stream, against {results['base']} (medians)", columns, rows)]
    return [head, *_said(results), wrong, *shown, *results["notes"]]


def _said(results: Mapping[str, Any]) -> list[str]:
    """What there is to say of the verdict itself."""
    found = []
    if results["doses"]:
        found.extend(_edit(results))
    if results["added"]:
        each = ", ".join(f"{writer} {size:.3g}" for writer, size in results["added"].items())
        found.append(f"Added along the direction: {each}.")
    if ranks := results["ranks"]:
        found.append(f"A rank of at most {max(ranks)} explains the change in each of {len(ranks)} matrices looked at.")
    if results["verdict"] == "unchanged":
        return found
    if not results["doses"]:
        found.append(f"Best fit of an edit of a dose of at least 0.05: {_fit(results)}.")
    if (likeness := results["likeness"]) is not None:
        found.append(_likeness(likeness))
    return found


def _edit(results: Mapping[str, Any]) -> list[str]:
    dose, left, agreed, explained = (results[key] for key in ("doses", "left", "agreement", "explained"))
    form = f" ({results['form']})" if results["form"] else ""
    shares = ", ".join(f"{name} {share:.1%}" for name, share in explained.items())
    return [
        f"Dose {interval(dose['all'])} over {dose['all']['n']} matrices{form}. Fit: {_fit(results)}.",
        f"Still written along it: {interval(left)} of what the base writes. The direction is the same (cosine at least "
        f"0.95) in {_rate(agreed)} of {agreed['n']} matrices.",
        f"What their change consists of: {shares}.",
    ]


def _likeness(likeness: Mapping[str, Any]) -> str:
    dose = f"; dose along it {interval(likeness['dose'])}" if likeness["dose"] else ""
    if likeness["cosine"] is None:
        return f"Nothing edited to be compared with {likeness['name']}{dose}."
    return (
        f"Cosine with {likeness['name']}: {likeness['cosine']:.3f} (95 of 100 random directions have less than "
        f"{likeness['chance']:.3f}){dose}."
    )


def _row(kind: str, results: Mapping[str, Any]) -> list[str]:
    every = [one for one in results["tensors"] if one["writer"].rpartition(".")[2] == kind]
    some = [one for one in results["matrices"] if one["component"] == kind]
    if not every:
        return []
    count = f"{len(some)} of {len(every)}"
    if not some:
        return [kind, count, "", "", "", "", ""]
    size, rank, fit, left = (median([one[key] for one in some]) for key in ("size", "rank", "fit", "left"))
    dose = interval(results["doses"][kind]) if kind in results["doses"] else ""
    return [kind, count, f"{size:.2%}", f"{rank:.0f}", dose, f"{fit:.3f}", f"{left:.1%}" if dose else ""]


def _fit(results: Mapping[str, Any]) -> str:
    limits = results["limits"]
    return (
        f"{results['fit']:.3f} of all writers together (edited from {limits['together']:.2f}), "
        f"{results['fit_alone']:.3f} of the best alone (from {limits['alone']:.2f})"
    )


def _rates(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{_rate(score)} of {score['n']} ({kind})" for kind, score in scores.items())


def _rate(score: Mapping[str, Any]) -> str:
    return f"{score['value']:.1%} [{score['low']:.1%}, {score['high']:.1%}]"
