"""What was done to a checkpoint, in one of five words, and how often that word is wrong.

    unchanged                       no number differs by more than rounding
    edited along one direction      W' = (I - s r r^T) W of one r, or one vector was added and nothing else changed
    edited along several directions the same of more than one
    low-rank change                 most changed matrices are a change of low rank, and its rounding (see `lowrank`)
    finetuned                       anything else

A direction is edited where its fit (see `tracing`) reaches the threshold and its dose 0.05. The threshold was chosen on
one half of a set of unedited finetunes and edited checkpoints (experiments/audit_calibration.py), and the rates are of
the other half and of finetunes of a real model, none of which it was chosen on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from workbench.runs import read_json
from workbench.statistics import Score, rate_score
from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.spectra import eigen
from workbench.weights.audit.tracing import LEAST_DOSE, Trace

UNCHANGED, ONE, SEVERAL = "unchanged", "edited along one direction", "edited along several directions"
LOW_RANK, FINETUNED = "low-rank change", "finetuned"
AGREE = 0.95  # cosine from which on two directions are the same
_MOST_APART = 0.1  # of the edited matrices, that may have a direction of their own
_MINOR = 0.01  # of the leading direction's energy, below which another is its by-product
_CALIBRATION = Path(__file__).parent / "data" / "calibration.json"


class Count(BaseModel):
    """How many of how many."""

    model_config = ConfigDict(frozen=True)

    hits: int
    n: int

    def score(self, name: str) -> Score:
        return rate_score(name, self.hits, self.n)


class Calibration(BaseModel):
    """The threshold, what it was chosen on, and how it does on what it was not chosen on."""

    model_config = ConfigDict(frozen=True)

    threshold: float
    chosen_on: Count  # finetunes that were called edited, of those it was chosen on
    called_edited: dict[str, Count]  # unedited finetunes, by the kind of model
    found: dict[str, Count]  # edited checkpoints that were called edited, by dose
    low_rank: dict[str, Count]  # called low-rank change: of merged adapters, and of other finetunes


@cache
def calibration() -> Calibration:
    """What is known of the verdict's errors."""
    return Calibration.model_validate(read_json(_CALIBRATION))


@dataclass(frozen=True, eq=False)
class Found:
    """Edited directions: of all matrices together, and of those that have their own."""

    basis: Float[Tensor, "d_model k"]  # of all together
    traces: tuple[Trace, ...]
    apart: tuple[Compared, ...]  # matrices that show an edit by themselves, along another direction
    count: int
    evidence: float  # the best fit there is
    threshold: float

    def units(self) -> Float[Tensor, "n d_model"]:
        """What was edited, as orthonormal rows: what all have in common, and what some have apart."""
        if not self.apart:
            return self.basis.T
        own = torch.stack([one.direction for one in self.apart if one.direction is not None])
        _, vectors = eigen((own.T @ own).double())
        both = torch.cat([self.basis, vectors[:, : self.count - self.basis.shape[1]]], dim=1)
        return torch.linalg.qr(both).Q.T

    def is_edit(self, dose: float, fit: float) -> bool:
        """Whether a matrix shows the mark of an edit by itself."""
        return is_edit(dose, fit, self.threshold)


def is_edit(dose: float, fit: float, threshold: float) -> bool:
    """Whether what a matrix shows along a direction is an edit."""
    return fit >= threshold and abs(dose) >= LEAST_DOSE


def _in_common(index: int, edits: Sequence[Trace], threshold: float) -> bool:
    """Whether a matrix shows one of the common edits."""
    return any(is_edit(one.doses[index], one.fits[index], threshold) for one in edits)


def find_edits(changed: Sequence[Compared], every: Sequence[Trace], pooled: Tensor, threshold: float) -> Found:
    """The directions that were edited, from the traces of all changed writers together and of each by itself."""
    strong = [one for one in every if abs(one.dose) >= LEAST_DOSE]
    edits = [one for one in strong if one.fit >= threshold]
    edits.sort(key=lambda one: -sum(one.shares))
    edits = [one for one in edits if sum(one.shares) >= _MINOR * sum(edits[0].shares)]
    basis = torch.stack([pooled @ one.along.float() for one in edits], dim=1) if edits else pooled[:, :0]
    alone = [(index, one, one.own) for index, one in enumerate(changed) if one.own and abs(one.own.dose) >= LEAST_DOSE]
    own = [(index, one) for index, one, trace in alone if trace.fit >= threshold]
    others = [one for index, one in own if not _in_common(index, edits, threshold)]
    apart = tuple(one for one in others if agreement(one, basis) < AGREE)
    if len(apart) <= _MOST_APART * len(own):
        apart = ()
    evidence = max((trace.fit for trace in [*strong, *(trace for _, _, trace in alone)]), default=0.0)
    return Found(basis, tuple(edits), apart, len(edits) + _independent(apart), evidence, threshold)


def agreement(one: Compared, basis: Float[Tensor, "d_model k"]) -> float:
    """How far the direction of a matrix by itself lies in the span: the cosine, where the span is a line."""
    return float((basis.T @ one.direction).norm()) if one.direction is not None and basis.shape[1] else 0.0


def _independent(apart: Sequence[Compared]) -> int:
    """How many directions the matrices that have their own have together: 95 % of their energy."""
    units = [one.direction for one in apart if one.direction is not None]
    if not units:
        return 0
    energies, _ = eigen(torch.stack(units).double() @ torch.stack(units).double().T)
    return int((energies.cumsum(0) < AGREE * energies.sum()).sum()) + 1


def is_unchanged(compared: Sequence[Compared]) -> bool:
    """Whether all that both have is the same up to rounding."""
    return not any(one.changed or one.status == "changed" for one in compared)


def verdict_of(compared: Sequence[Compared], found: Found, added: bool, ranks: Sequence[int]) -> str:
    """The word; `added` says that a vector was added by the writers and nothing else was changed."""
    if is_unchanged(compared):
        return UNCHANGED
    if added:
        return ONE
    if found.count:
        return ONE if found.count == 1 else SEVERAL
    return LOW_RANK if ranks else FINETUNED
