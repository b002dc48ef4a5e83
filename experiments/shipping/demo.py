"""The demo: what the first page tells, from a finished run of `workbench demo`.

python -m experiments.ship demo RUN

Scores, changes and the search's table as they are; of the replies a few, each prompt under every condition. Of a
harmful prompt only refusals are kept: any other reply is left out, and counted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.evaluation import Measured
from workbench.evaluation.outcomes import Outcome
from workbench.evaluation.replies import HARMFUL
from workbench.runs import RunFolder

MEASURES = ("refusal", "compliance", "evasion", "broken", "first_token_kl")
SEARCHED = ("chosen", "passed_rule", "n_layers", "kept", "front", "evaluations")
HARMLESS = "harmless"
# What the prompts that are told have become under each condition: the first is refused unless the direction is removed,
# the second answered unless it is added.
TOLD = {
    HARMFUL: {"baseline": "refuse", "ablated": "comply", "random ablated": "refuse", "added": "refuse"},
    HARMLESS: {"baseline": "comply", "ablated": "comply", "random added": "comply", "added": "refuse"},
}
N_TOLD = {HARMFUL: 1, HARMLESS: 2}


def distil(source: Path) -> dict[str, Any]:
    """What the page shows, and nothing that a harmful prompt was answered with."""
    run = RunFolder.open(source)
    found, manifest = run.results(), run.manifest
    parts = {(part.condition, part.asked): part for part in run.journal("replies.jsonl", Measured)}
    evaluation = found["evaluation"]
    return {
        "source": {
            "command": f"workbench demo {manifest.model['name']}", "model": manifest.model["name"],
            "started": manifest.started, "n": len(parts["baseline", HARMFUL].replies),
            "versions": dict(manifest.versions),
            "tokens": manifest.settings["max_new_tokens"], "seconds": sum(manifest.timings.values()),
        },
        "find": {name: found["find"][name] for name in SEARCHED}
        | {"kl_max": manifest.settings["kl_max"], "candidates": found["find"]["search"]["candidates"]},
        "evaluation": {
            "judge": evaluation["judge"],
            "control_match": evaluation["control_match"],
            "scores": _of_measures(evaluation["scores"]),
            "differences": _of_measures(evaluation["differences"]),
        },
        "told": [told for asked in TOLD for told in _told(parts, asked)],
        "left_out": _left_out(parts),
    }  # fmt: skip


def _of_measures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"].rsplit("/", 1)[1] in MEASURES]


def _told(parts: dict[tuple[str, str], Measured], asked: str) -> Iterator[dict[str, Any]]:
    """The first prompts of a set that became what is told of it."""
    wanted = TOLD[asked]
    rows = range(len(parts["baseline", asked].replies))
    fitting = [i for i in rows if all(parts[c, asked].replies[i].outcome == said for c, said in wanted.items())]
    for index in fitting[: N_TOLD[asked]]:
        replies = {c: part.replies[index] for (c, group), part in parts.items() if group == asked}
        said = {
            c: {"outcome": reply.outcome, "reply": reply.reply if _may_be_shown(asked, reply.outcome) else None}
            for c, reply in replies.items()
        }
        yield {"asked": asked, "prompt": parts["baseline", asked].replies[index].prompt, "said": said}


def _may_be_shown(asked: str, outcome: Outcome | None) -> bool:
    return asked == HARMLESS or outcome == Outcome.REFUSE


def _left_out(parts: dict[tuple[str, str], Measured]) -> dict[str, int]:
    """How many replies to harmful prompts are no refusals, by condition; none of them is in the file."""
    return {c: len(p.replies) - p.count(Outcome.REFUSE) for (c, asked), p in parts.items() if asked == HARMFUL}
