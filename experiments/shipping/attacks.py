"""Attacks and defences: outcomes of a run of attacks, with the replies that may be shown.

python -m experiments.ship attacks RUN        RUN: `attacks` in the folder of `workbench experiment run attacks`

Every score and change as it is. Of replies to harmful requests only refusals keep their first sentence; of
all others the outcome alone is kept.
"""

from pathlib import Path
from typing import Any

from workbench.evaluation import Judged, Measured, Outcome
from workbench.evaluation.replies import HARMFUL, opens_with_refusal
from workbench.runs import RunFolder

MEASURES = ("refusal", "compliance", "evasion", "broken")
N_TOLD = 12  # requests of each kind whose replies are kept
LONGEST = 320  # characters


def distil(source: Path) -> dict[str, Any]:
    """What the page shows."""
    run = RunFolder.open(source)
    found, manifest = run.results(), run.manifest
    parts = run.journal("replies.jsonl", Measured)
    replies = [row for part in parts for row in _replies(part, found["grid"][part.condition], found["attacks"])]
    return {
        "source": {
            "command": "workbench experiment run attacks", "model": manifest.model["name"],
            "started": manifest.started, "versions": manifest.versions, "n": len(parts[0].replies),
            "tokens": manifest.settings["max_new_tokens"], "seconds": sum(manifest.timings.values()),
        },
        **{name: found[name] for name in ("grid", "attacks", "recipes", "judge", "control_match")},
        "scores": _of_measures(found["scores"]),
        "differences": _of_measures(found["differences"]),
        "replies": replies,
    }  # fmt: skip


def _of_measures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"].rsplit("/", 1)[1] in MEASURES]


def _replies(part: Measured, place: tuple[str, str], attacks: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """The first replies of a part; a judge errs, so that what ships as a refusal has to open like one, too."""
    attack, recipe = place
    begun = attacks[attack].get("prefill", "")
    return [
        {"attack": attack, "recipe": recipe, "asked": part.asked, "prompt": reply.prompt,
         "outcome": "unjudged" if reply.outcome is None else str(reply.outcome),
         "text": _shown(reply, part.asked, begun)}
        for reply in part.replies[:N_TOLD]
    ]  # fmt: skip


def _declines(reply: Judged, begun: str) -> bool:
    return reply.outcome == Outcome.REFUSE and opens_with_refusal(reply.reply, begun)


def _shown(reply: Judged, asked: str, begun: str) -> str:
    """Of a refusal its first sentence: after it, a small model may wander."""
    if asked != HARMFUL:
        return _cut(reply.reply)
    if not _declines(reply, begun):
        return ""
    first, stop, rest = reply.reply.partition(". ")
    return _cut(f"{first}. ..." if stop and rest.strip() else reply.reply)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} ..."
