"""workbench patch"""

import json as json_module
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from workbench.cli import options as o
from workbench.cli.display import interval, kept, show, table, told_of, watching

if TYPE_CHECKING:
    from probes.patching import Pairs, RefusalLogOdds
    from workbench.models import Subject
    from workbench.prompts import ContrastPairs, Prompts


class What(StrEnum):
    """What can be asked."""

    ATTRIBUTION = "attribution"
    ACTIVATION = "activation"
    HEADS = "heads"
    FIRST_ORDER = "first-order"
    PATH = "path"


class Asked(NamedTuple):
    """What every answer needs."""

    subject: "Subject"
    sides: "ContrastPairs"
    metric: "RefusalLogOdds"
    compliance: list[str] | None
    n: int
    into: str
    batch_size: int
    seed: int
    layers: tuple[int, ...] | None

    def pairs(self, same_length: bool = False) -> "Pairs":
        from probes.patching import pair_prompts

        harmful, harmless = self.both if not same_length else (self.sides.positive, self.sides.negative)
        return pair_prompts(self.subject, harmful, harmless, n=self.n, same_length=same_length)

    @property
    def both(self) -> "tuple[Prompts, Prompts]":
        """As many prompts of each side as are asked for."""
        return self.sides.positive.sample(self.n, self.seed), self.sides.negative.sample(self.n, self.seed)


Found = tuple[Any, dict[str, Any]]  # a result, and its figures by file name
Folder = Annotated[Path | None, typer.Option("--out", help="A folder for the table and the figures.")]


def command(
    model: o.Model,
    what: Annotated[What, typer.Option(help="What to ask of the model.")] = What.ATTRIBUTION,
    harmful: o.Positive = "harmful:train",
    harmless: o.Negative = "harmless:train",
    n: Annotated[int, typer.Option(min=2, help="Pairs of prompts; of attribution, prompts of each side.")] = 8,
    into: Annotated[str | None, typer.Option(help="Whose runs are patched: harmful (default) or harmless.")] = None,
    refusal_token: Annotated[list[str] | None, typer.Option(help="How refusals begin; may be given again.")] = None,
    compliance_token: Annotated[list[str] | None, typer.Option(help="How compliance begins; may be repeated.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to patch, such as 8-16; default: all.")] = None,
    batch_size: o.BatchSize = 8,
    seed: o.Seed = 0,
    dtype: o.Dtype = None,
    device: o.Device = None,
    out: Folder = None,
    json: o.Json = False,
) -> None:
    """Where refusal is made: parts of the logit, patched activations, ablated heads, and the path between."""
    with watching():
        from probes.patching import RefusalLogOdds, tuning_pool
        from workbench.evaluation.refusal import refusal_tokens

        _require_used(what, {"--into": into, "--layers": layers})
        side, chosen = _side(into), o.numbers(layers, "--layers")
        sides = o.read_sides(harmful, harmless)
        reported = sides.positive.sample(n, seed)
        subject = o.open_subject(model, dtype, device)
        pool = sides.positive if refusal_token else tuning_pool(sides.positive, reported, "harmful")
        refusing = refusal_tokens(subject, pool, refusal_token, batch_size)
        metric = RefusalLogOdds(refusing.ids)
        asked = Asked(subject, sides, metric, compliance_token, n, side, batch_size, seed, chosen)
        found, figures = _ANSWERS[what](asked)
        frame = found.to_pandas()
        results: dict[str, Any] = {
            "model": subject.identity, "what": str(what), "into": side, "seed": seed, "prompts": sides.digest,
            "refusal_tokens": list(refusing.texts), "found": repr(found),
            "rows": json_module.loads(frame.to_json(orient="records", double_precision=15)),
        }  # fmt: skip
        if out is not None:
            results["files"] = kept(out, "patch", results, figures)
    show(results, json, *patch_tables(results), *told_of(results.get("files")))


_USED = {
    "--into": (What.ACTIVATION, What.FIRST_ORDER, What.PATH),
    "--layers": (What.ACTIVATION, What.PATH),
}


def _require_used(what: What, given: Mapping[str, str | None]) -> None:
    """Raise UsageError where an option was given that the question does not take."""
    from workbench.errors import UsageError

    for option, value in given.items():
        if value is not None and what not in _USED[option]:
            raise UsageError(f"--what {what} takes no {option}; it is for {', '.join(_USED[option])}.")


def _side(into: str | None) -> str:
    from probes.patching.pairs import HARMFUL, SIDES
    from workbench.errors import UsageError

    if into not in (None, *SIDES):
        raise UsageError(f"A run is of a harmful or a harmless prompt, not of {into!r}.")
    return into or HARMFUL


def _attribution(asked: Asked) -> Found:
    from probes.patching import LogitDifference, attribute_logits, compliance_tokens, tuning_pool
    from workbench.runs import note

    harmful, harmless = asked.both
    pool = asked.sides.negative
    if not asked.compliance:
        pool = tuning_pool(pool, harmless, "harmless")
    complying = compliance_tokens(asked.subject, pool, asked.metric.tokens, asked.compliance)
    note(f"Compliance begins with {', '.join(map(repr, complying.texts))} ({complying.source}).")
    found = attribute_logits(
        asked.subject, harmful, harmless, LogitDifference(asked.metric.tokens, complying.ids),
        batch_size=asked.batch_size, seed=asked.seed,
    )  # fmt: skip
    return found, {"parts": found.plot(), "heads": found.plot_heads()}


def _activation(asked: Asked) -> Found:
    from probes.patching import patch_activations

    found = patch_activations(
        asked.subject, asked.pairs(), asked.metric, into=asked.into, layers=asked.layers, batch_size=asked.batch_size
    )  # fmt: skip
    return found, {"map": found.plot()}


def _heads(asked: Asked) -> Found:
    from probes.patching import ablate_heads, attention_patterns

    pairs = asked.pairs()
    found = ablate_heads(asked.subject, pairs, asked.metric, batch_size=asked.batch_size, seed=asked.seed)
    patterns = attention_patterns(asked.subject, pairs.harmful[0], found.chosen[:3])
    return found, {"heads": found.plot(), "map": found.plot_map(), "patterns": patterns.plot()}


def _first_order(asked: Asked) -> Found:
    from probes.patching import patch_first_order

    found = patch_first_order(asked.subject, asked.pairs(same_length=True), asked.metric, into=asked.into)
    return found, {"map": found.plot()}


def _path(asked: Asked) -> Found:
    from probes.patching import causal_path, patch_activations

    patched = patch_activations(
        asked.subject, asked.pairs(), asked.metric, into=asked.into, layers=asked.layers, batch_size=asked.batch_size
    )  # fmt: skip
    found = causal_path(patched)
    return found, {"path": found.plot(), "map": patched.plot()}


_ANSWERS: Mapping[What, Callable[[Asked], Found]] = {
    What.ATTRIBUTION: _attribution, What.ACTIVATION: _activation, What.HEADS: _heads,
    What.FIRST_ORDER: _first_order, What.PATH: _path,
}  # fmt: skip


_SHOWN = 20
# The column that a table is sorted by, those of its interval, and the control's.
_COLUMNS = {
    What.ATTRIBUTION: ("gap", "gap_low", "gap_high", "control"),
    What.ACTIVATION: ("share", "share_low", "share_high", "control"),
    What.HEADS: ("effect", "low", "high", "random_prompt"),
    What.FIRST_ORDER: ("first_order", "first_order_low", "first_order_high", "exact"),
    What.PATH: ("share", "low", "high", "control"),
}


def patch_tables(results: Mapping[str, Any]) -> list[Any]:
    """The result in a sentence, and its largest rows."""
    value, low, high, beside = _COLUMNS[What(results["what"])]
    rows = results["rows"]
    if results["what"] not in (What.HEADS, What.PATH):  # these have an order of their own
        rows = sorted(rows, key=lambda row: -abs(row[value]))[:_SHOWN]
    named = [key for key in ("role", "part", "stream", "layer", "place", "head") if any(key in row for row in rows)]
    cells = [
        [*(_cell(row.get(key)) for key in named),
         interval({"value": row[value], "low": row[low], "high": row[high]}), f"{row[beside]:.3f}"]
        for row in rows
    ]  # fmt: skip
    tokens = ", ".join(map(repr, results["refusal_tokens"]))
    columns = (*named, f"{value} [95 %]", beside.replace("_", " "))
    return [results["found"], table(f"Refusals begin with {tokens}", columns, cells)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value).replace("\n", "⏎")
