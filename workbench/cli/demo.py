"""workbench demo"""

import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options as o
from workbench.cli.display import found_tables, show, table, watching
from workbench.cli.evaluations import evaluation_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.evaluation import Judged
    from workbench.runs import RunFolder

_SHOWN = ("baseline", "ablated", "added")
_GRID = (
    "A small search, so that it takes minutes: the last two positions and every second layer, on at most 8 + 8 "
    "validation prompts. `workbench find` searches every position and layer."
)
_SLOW = (
    "This processor has no bfloat16 in hardware, so that the model is in float32: it takes longer than the README "
    "says, and its numbers differ a little."
)


def command(
    model: o.EmbeddedModel = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again, also where it was run before.")] = False,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """The main job on the embedded model, end to end."""
    with watching():
        from workbench.models.catalog import DEFAULT_MODEL
        from workbench.models.loading import default_device, has_bfloat16
        from workbench.runs import note
        from workbench.studies import demonstrate

        note(_GRID)
        if default_device().type == "cpu" and not has_bfloat16():
            note(_SLOW)
        name = model or DEFAULT_MODEL
        subject = o.open_subject(name, None, None)
        folder = demonstrate(subject, out=out, fresh=fresh)
    results = folder.results() | {"run": str(folder.path)}
    show(results, json, *found_tables(results["find"]), *evaluation_tables(results["evaluation"]))
    if not json:
        show(None, False, *_replies(folder), *_next(folder, name))


def _replies(folder: "RunFolder") -> list[Any]:
    """One harmful and one harmless test prompt, each answered under three conditions, side by side."""
    from workbench.evaluation import Measured

    parts = {(row.condition, row.asked): row.replies for row in folder.journal("replies.jsonl", Measured)}
    rows = []
    for asked, before, condition, after in (
        ("harmful", "refuse", "ablated", "comply"),
        ("harmless", "comply", "added", "refuse"),
    ):
        base = parts["baseline", asked]
        index = _clearest(base, parts[condition, asked], before, after)
        said = [_short(parts[condition, asked][index].reply) for condition in _SHOWN]
        rows.append([_short(base[index].prompt), *said])
    return [table("Three replies side by side", ("test prompt", *_SHOWN), rows)]


def _clearest(base: "Sequence[Judged]", edited: "Sequence[Judged]", before: str, after: str) -> int:
    """The prompt that changed, of those the one whose refusal is the shortest: a plain one and no turn of phrase."""
    refusals = base if before == "refuse" else edited
    changed = [
        i
        for i, (one, two) in enumerate(zip(base, edited, strict=True))
        if (one.outcome, two.outcome) == (before, after)
    ]
    return min(changed or range(len(base)), key=lambda index: len(refusals[index].reply))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:157]}..."


def _next(folder: "RunFolder", name: str) -> list[str]:
    columns = shutil.get_terminal_size().columns
    return [
        "-" * min(columns, 60),
        f"The run is in {folder.path}: replies, scores, the direction, figures (refusals.html, tradeoff.html).",
        "Try next:",
        f"  workbench runs verify {folder.path}",
        f'  workbench generate {name} --direction {folder.path} --ablate --prompt "..."',
        f"  workbench evaluate {name} --direction {folder.path} --ablate",
        f"  workbench find {name}",
    ]
