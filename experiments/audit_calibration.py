"""How often is an unedited finetune called edited, and how often is an edited checkpoint found?

1. Every finetune of `auditing.finetunes` is audited as it is, and once more with an edit at one of the doses.
2. Each limit is half-way between the best fit of an unedited tiny model of even seed and 1.
3. What is reported is of the tiny models of odd seed, and of all finetunes of the real model, on none of which the
   limits were chosen; with the best fits that each way of finetuning reached unedited.

What the workbench's verdict reads is such a run: `python -m experiments.ship calibration RUN`.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from experiments.auditing import finetunes as f
from experiments.auditing.cases import REWRITTEN, Case, real_cases, tiny_cases
from experiments.experiment import Answer, ExperimentSettings
from experiments.journal import Row, journalled
from workbench.models.sources import Source, resolve
from workbench.plots import Figure
from workbench.plots.compared import compared_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder
from workbench.statistics import Score
from workbench.studies.parts import Valued

TINY, ROWS = "tiny", "audits.jsonl"
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
CHOSEN_ON, CALLED, FOUND, LOW_RANK = "chosen_on", "called_edited", "found", "low_rank"
# What is counted, as a score's name says it: of which checkpoints, and what is said of them.
SAID = {
    CHOSEN_ON: ("unedited", "called edited"), CALLED: ("unedited", "called edited"),
    FOUND: ("edited", "called edited"), LOW_RANK: ("unedited", "called low rank"),
}  # fmt: skip
KINDS = {"finetuned": ("finetuned", "adapter"), REWRITTEN: (REWRITTEN,)}
Hits = Mapping[str, Mapping[str, Sequence[bool]]]
Values = Mapping[str, Mapping[str, Valued]]


class Settings(ExperimentSettings):
    """The real model and its numbers, how many seeds of it and of the tiny models, and the doses of the edits."""

    model: str
    dtype: Literal["bfloat16", "float32"]
    n_seeds: int = Field(ge=2)
    n_real_seeds: int
    doses: tuple[float, ...]

    @cached_property
    def source(self) -> Source:
        """Where the real model's weights are; it is not opened."""
        return resolve(self.model, self.dtype)

    def identity(self) -> dict[str, str]:
        return {"name": self.source.name, "digest": self.source.digest, "dtype": self.dtype}


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Finetune, edit, audit; a finetune that was audited before a stop is kept."""
    real = settings.source.name
    with tempfile.TemporaryDirectory() as scratch:
        cases = {case.name: case.measured for case in cases_of(settings, Path(scratch))}
        held = journalled(folder.path / ROWS, cases, "Auditing finetunes")
    rows = [row for case in held.values() for row in case["audits"]]
    limits = limits_of(rows)
    hits = counted(rows, limits, real, settings.doses)
    values = valued(hits)
    return Answer(
        line=told(values),
        figure=shown(values, real, settings.doses),
        results={"calibration": summarised(rows, limits, hits, real)},
        values=tuple(each for table in values.values() for each in table.values()),
    )


def cases_of(settings: Settings, scratch: Path) -> Iterator[Case]:
    """All finetunes of all models; a tiny model is made where its first finetune is asked for."""
    for kind in f.TINY:
        for seed in range(settings.n_seeds):
            yield from tiny_cases(kind, seed, scratch, settings.doses)
    for seed in range(settings.n_real_seeds):
        yield from real_cases(settings.source, settings.model, DTYPES[settings.dtype], seed, settings.doses)


def limits_of(rows: Sequence[Row]) -> dict[str, float]:
    """Half-way between the best fit of what was not edited and 1."""
    return {name: round((1 + best) / 2, 3) for name, best in _best(_unedited(_tuned(rows))).items()}


def counted(rows: Sequence[Row], limits: Mapping[str, float], real: str, doses: Sequence[float]) -> Hits:
    """What the limits say of each checkpoint, by what is counted and of which checkpoints."""
    kinds = {TINY: [row for row in rows if row["tiny"] and row["seed"] % 2], real: _real(rows)}

    def edited(some: Sequence[Row]) -> list[bool]:
        return [any(row[name] >= limit for name, limit in limits.items()) for row in some]

    def plain(some: Sequence[Row], *of: str) -> list[Row]:
        return [row for row in _unedited(some) if row["kind"] in of]

    return {
        CHOSEN_ON: {"tiny, of even seed": edited(_unedited(_tuned(rows)))},
        CALLED: {
            f"{name}, {what}": edited(plain(some, *of)) for what, of in KINDS.items() for name, some in kinds.items()
        },
        FOUND: {
            f"{name}, dose {dose:g}": edited([row for row in some if row["dose"] == dose])
            for name, some in kinds.items()
            for dose in doses
        },
        LOW_RANK: {
            f"{name}, {kind}": [row["low_rank"] for row in plain(some, kind)]
            for name, some in kinds.items()
            for kind in ("adapter", "finetuned", REWRITTEN)
        },
    }


def summarised(rows: Sequence[Row], limits: Mapping[str, float], hits: Hits, real: str) -> dict[str, Any]:
    """The limits, and what they do on what they were not chosen on, as the audit's own data says it."""
    counts = {
        part: {name: {"hits": sum(said), "n": len(said)} for name, said in table.items()}
        for part, table in hits.items()
    }
    (chosen_on,) = counts.pop(CHOSEN_ON).values()
    tiny = [row for row in rows if row["tiny"]]
    return {"limits": limits, CHOSEN_ON: chosen_on, **counts, "worst": _worst(TINY, tiny) | _worst(real, _real(rows))}


def valued(hits: Hits) -> Values:
    """The same as what scores come from, a value for each checkpoint."""
    return {
        part: {
            name: Valued(name=f"{SAID[part][0]}/{name}/{SAID[part][1]}", kind="rate", values=tuple(map(float, said)))
            for name, said in table.items()
            if said
        }
        for part, table in hits.items()
    }


def told(values: Values) -> str:
    """How often checkpoints are called edited, of either kind, by model."""
    unedited, edited = (
        "; ".join(f"{name} {each.score.percent} (n={each.score.n})" for name, each in values[part].items())
        for part in (CALLED, FOUND)
    )
    return f"unedited finetunes called edited: {unedited}; edited ones: {edited}"


def shown(values: Values, real: str, doses: Sequence[float]) -> Figure:
    """Both kinds of models side by side: unedited checkpoints, and edited ones by dose."""
    rows = {f"unedited, {what}": (CALLED, what) for what in KINDS}
    rows |= {f"edited, dose {dose:g}": (FOUND, f"dose {dose:g}") for dose in doses}
    series = {
        name: [_score(values[part].get(f"{name}, {what}")) for part, what in rows.values()] for name in (TINY, real)
    }
    return compared_figure(list(rows), series, "Called edited, % of checkpoints", percent=True)


def _score(value: Valued | None) -> Score | None:
    return None if value is None else value.score


def _tuned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["tiny"] and row["seed"] % 2 == 0]


def _real(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["tiny"]]


def _unedited(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["dose"]]


def _best(rows: Sequence[Row]) -> dict[str, float]:
    return {name: round(max(row[name] for row in rows), 4) for name in ("together", "alone")}


def _worst(name: str, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The best fits of each way of finetuning."""
    ways = dict.fromkeys(row["finetune"] for row in rows)
    return {f"{name}, {way}": _best([row for row in _unedited(rows) if row["finetune"] == way]) for way in ways}
