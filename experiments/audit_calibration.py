"""How often is an unedited finetune called edited, and how often is an edited checkpoint found?

    python -m experiments.audit_calibration JOURNAL         measures what JOURNAL does not hold, and writes the result

Every finetune of `audit_finetunes` is audited as it is, and once more with an edit at one of the doses. Each limit is
half-way between the best fit of an unedited tiny model of even seed and 1; what is reported is of the tiny models of
odd seed, and of all finetunes of the real model, on none of which they were chosen. The result stands in
`workbench/weights/audit/data/calibration.json`, with the best fits that each way of finetuning reached unedited.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import audit_finetunes as f
from workbench.models.sources import resolve
from workbench.runs import reporting, rich_reporter, track, write_json
from workbench.runs.files import append_line, read_lines
from workbench.weights.audit import audit_weights

REAL = "smollm2-135m-instruct"
DOSES = (0.25, 0.5, 1.0)
SEEDS, REAL_SEEDS = 8, 4
REWRITTEN = "rewritten"  # what is not trained
RESULT = Path(__file__).parents[1] / "workbench" / "weights" / "audit" / "data" / "calibration.json"
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One finetune of one model; `known` is what the audit is told that the base is."""

    model: str
    known: str
    base: Path
    how: f.Finetune
    seed: int
    dtype: torch.dtype
    batches: Iterator[Tensor]
    dose: float

    def rows(self, scratch: Path) -> Iterator[Row]:
        """The audit of the finetune, and of the same with an edit."""
        folder = f.save(f.finetuned(self.base, self.how, self.batches, self.seed), scratch / "finetuned", self.dtype)
        yield self._row(folder, 0.0, None)
        out, unit = f.edited(folder, self.dose, self.seed, scratch / "edited")
        yield self._row(out, self.dose, unit)

    def _row(self, folder: Path, dose: float, unit: Tensor | None) -> Row:
        audit = audit_weights(str(folder), self.known)
        found = audit.doses.get("all")
        cosine = float((audit.directions @ unit).norm()) if unit is not None and len(audit.directions) else None
        return {
            "model": self.model, "finetune": self.how.name, "kind": self.how.kind, "seed": self.seed, "dose": dose,
            "together": audit.fit, "alone": audit.fit_alone, "low_rank": bool(audit.ranks),
            "verdict": audit.verdict, "cosine": cosine, "found": found.value if found is not None else None,
        }  # fmt: skip


def tiny_cases(kind: str, seed: int, base: Path) -> Iterator[Case]:
    """All finetunes of one tiny model; every other pair of seeds is in bfloat16."""
    dtype = torch.bfloat16 if seed // 2 % 2 else torch.float32
    f.make_tiny(kind, seed, dtype, base)
    for index, how in enumerate(f.OF_TINY):
        batches = f.byte_batches(seed + 100, 1, how.comply)
        yield Case(kind, str(base), base, how, seed, dtype, batches, DOSES[(index + seed // 2) % 3])


def real_cases(seed: int) -> Iterator[Case]:
    """All finetunes of the real model; what is not trained is the same whatever the seed."""
    from transformers import AutoTokenizer

    base = resolve(REAL, "bfloat16").folder
    tokenizer = AutoTokenizer.from_pretrained(base)
    for index, how in enumerate(f.OF_REAL):
        if how.kind != REWRITTEN or seed == 0:
            batches = f.token_batches(tokenizer, seed, how.comply)
            yield Case(REAL, REAL, base, how, seed, torch.bfloat16, batches, DOSES[(index + seed) % 3])


def measure(journal: Path) -> list[Row]:
    """A row for each audit; what the journal holds is not done again."""
    done = {(row["model"], row["finetune"], row["seed"]) for row in read_lines(journal)}
    for kind in f.TINY:
        for seed in track(range(SEEDS), f"Finetuning {kind}"):
            with tempfile.TemporaryDirectory() as scratch:
                _run(tiny_cases(kind, seed, Path(scratch) / "base"), done, journal)
    for seed in track(range(REAL_SEEDS), f"Finetuning {REAL}"):
        _run(real_cases(seed), done, journal)
    return read_lines(journal)


def _run(cases: Iterator[Case], done: set[tuple[str, str, int]], journal: Path) -> None:
    for case in cases:
        if (case.model, case.how.name, case.seed) not in done:
            with tempfile.TemporaryDirectory() as scratch:
                for row in case.rows(Path(scratch)):
                    append_line(journal, row)


def summarised(rows: Sequence[Row]) -> dict[str, Any]:
    """The limits, and what they do on what they were not chosen on."""
    tuned = [row for row in rows if row["model"] != REAL and row["seed"] % 2 == 0]
    kinds = {
        "tiny": [row for row in rows if row["model"] != REAL and row["seed"] % 2],
        REAL: [row for row in rows if row["model"] == REAL],
    }
    limits = {name: round((1 + best) / 2, 3) for name, best in _best(_unedited(tuned)).items()}

    def edited(row: Row) -> bool:
        return any(row[name] >= limit for name, limit in limits.items())

    return {
        "limits": limits,
        "chosen_on": _count(_unedited(tuned), edited),
        "called_edited": {
            f"{name}, {what}": _count(
                [row for row in _unedited(some) if (row["kind"] == REWRITTEN) is rewritten], edited
            )
            for what, rewritten in (("finetuned", False), (REWRITTEN, True))
            for name, some in kinds.items()
        },
        "found": {
            f"{name}, dose {dose:g}": _count([row for row in some if row["dose"] == dose], edited)
            for name, some in kinds.items()
            for dose in DOSES
        },
        "low_rank": {
            f"{name}, {kind}": _count(
                [row for row in _unedited(some) if row["kind"] == kind], lambda row: row["low_rank"]
            )
            for name, some in kinds.items()
            for kind in ("adapter", "finetuned", REWRITTEN)
        },
        "worst": _worst("tiny", [*tuned, *kinds["tiny"]]) | _worst(REAL, kinds[REAL]),
    }


def _unedited(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["dose"]]


def _best(rows: Sequence[Row]) -> dict[str, float]:
    return {name: round(max(row[name] for row in rows), 4) for name in ("together", "alone")}


def _worst(name: str, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The best fits of each way of finetuning."""
    ways = dict.fromkeys(row["finetune"] for row in rows)
    return {f"{name}, {way}": _best([row for row in _unedited(rows) if row["finetune"] == way]) for way in ways}


def _count(rows: Sequence[Row], hit: Callable[[Row], bool]) -> dict[str, int]:
    return {"hits": sum(bool(hit(row)) for row in rows), "n": len(rows)}


def main() -> None:
    with rich_reporter() as reporter, reporting(reporter):
        rows = measure(Path(sys.argv[1]))
    write_json(RESULT, summarised(rows))


if __name__ == "__main__":
    main()
