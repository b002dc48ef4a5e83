"""Every finetune of every model is a case: audited as it is, and once more with an edit."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.auditing import finetunes as f
from workbench.models.sources import Source
from workbench.weights.audit import audit_weights

REWRITTEN = "rewritten"  # what is not trained


@dataclass(frozen=True)
class Base:
    """A model that is finetuned; `known` is what the audit is told that it is, and its folder is there once asked."""

    model: str
    tiny: bool
    known: str
    folder: Callable[[], Path]
    dtype: torch.dtype


@dataclass(frozen=True)
class Case:
    """One finetune of one model, and the dose that it is then edited with."""

    base: Base
    how: f.Finetune
    seed: int
    batches: Iterator[Tensor]
    dose: float

    @property
    def name(self) -> str:
        return f"{'tiny ' * self.base.tiny}{self.base.model}, {self.how.name}, seed {self.seed}"

    def measured(self) -> dict[str, Any]:
        """The audit of the finetune, and of the same with an edit."""
        with tempfile.TemporaryDirectory() as scratch:
            return {"audits": list(self._audits(Path(scratch)))}

    def _audits(self, scratch: Path) -> Iterator[dict[str, Any]]:
        changed = f.finetuned(self.base.folder(), self.how, self.batches, self.seed)
        folder = f.save(changed, scratch / "finetuned", self.base.dtype)
        yield self._audit(folder, 0.0, None)
        out, unit = f.edited(folder, self.dose, self.seed, scratch / "edited")
        yield self._audit(out, self.dose, unit)

    def _audit(self, folder: Path, dose: float, unit: Tensor | None) -> dict[str, Any]:
        audit = audit_weights(str(folder), self.base.known)
        found = audit.doses.get("all")
        cosine = float((audit.directions @ unit).norm()) if unit is not None and len(audit.directions) else None
        return {
            "model": self.base.model, "tiny": self.base.tiny, "finetune": self.how.name, "kind": self.how.kind,
            "seed": self.seed, "dose": dose, "together": audit.fit, "alone": audit.fit_alone,
            "low_rank": bool(audit.ranks), "verdict": audit.verdict, "cosine": cosine,
            "found": found.value if found is not None else None,
        }  # fmt: skip


def tiny_cases(kind: str, seed: int, scratch: Path, doses: Sequence[float]) -> Iterator[Case]:
    """All finetunes of one tiny model; every other pair of seeds is in bfloat16."""
    dtype = torch.bfloat16 if seed // 2 % 2 else torch.float32
    folder = scratch / f"{kind}-{seed}"
    base = Base(kind, True, str(folder), cache(partial(f.make_tiny, kind, seed, dtype, folder)), dtype)
    for index, how in enumerate(f.OF_TINY):
        batches = f.byte_batches(seed + 100, 1, how.comply)
        yield Case(base, how, seed, batches, doses[(index + seed // 2) % len(doses)])


def real_cases(source: Source, asked: str, dtype: torch.dtype, seed: int, doses: Sequence[float]) -> Iterator[Case]:
    """All finetunes of the real model; what is not trained is the same whatever the seed."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    base = Base(source.name, False, asked, lambda: source.folder, dtype)
    for index, how in enumerate(f.OF_REAL):
        if how.kind != REWRITTEN or seed == 0:
            batches = f.token_batches(tokenizer, seed, how.comply)
            yield Case(base, how, seed, batches, doses[(index + seed) % len(doses)])
