"""Which directions were edited.

    together    a candidate whose fit over all changed writers (see `tracing`) reaches its limit, at a dose of 0.05
    alone       what a matrix shows by itself, where its fit reaches a higher limit, and which it does not share with
                those above: a direction for each layer, or an edit under an adapter that changed everything else

A single matrix has few columns, and many are looked at, so that one alone has to fit better to count; and fewer than
three are not together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import orthonormal
from workbench.weights.audit.calibration import Limits
from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.tracing import LEAST_DOSE, Trace, best, traces_along

AGREE = 0.95  # cosine from which on two directions are the same
_TOGETHER = 3  # matrices
_MINOR = 0.02  # of the leading direction's energy, below which another is its by-product (rows kept at their length)


@dataclass(frozen=True, eq=False)
class Found:
    """What was edited, and what every changed writer shows along each; the best candidate where nothing was."""

    units: Float[Tensor, "n d_model"]
    traces: tuple[Trace, ...]
    candidate: Trace | None
    together: float  # the best fit of all matrices
    alone: float  # the best fit of one
    limits: Limits

    def shown(self, index: int) -> Trace | None:
        """The trace that fits the matrix of that index best."""
        return max(self.traces, key=lambda one: one.fits[index], default=self.candidate)

    def is_edit(self, dose: float, fit: float) -> bool:
        """Whether what a matrix shows along an edited direction is that edit."""
        return bool(self.traces) and fit >= self.limits.together and abs(dose) >= LEAST_DOSE

    def agreement(self, one: Compared) -> float:
        """How far the direction of a matrix by itself lies in what was edited; the cosine, of one direction."""
        if one.direction is None or not len(self.units):
            return 0.0
        return float((orthonormal(self.units) @ one.direction).norm())


def find_edits(
    changed: Sequence[Compared], every: Sequence[Trace], pooled: Float[Tensor, "d_model k"], limits: Limits
) -> Found:
    """The edited directions, from the traces of all changed writers together and of each by itself."""
    strong = [one for one in every if abs(one.dose) >= LEAST_DOSE and len(changed) >= _TOGETHER]
    common = sorted((one for one in strong if one.fit >= limits.together), key=lambda one: -sum(one.shares))
    common = [one for one in common if sum(one.shares) >= _MINOR * sum(common[0].shares)]
    found = Found(
        units=torch.stack([one.along.float() @ pooled.T for one in common]) if common else pooled.T[:0],
        traces=tuple(common),
        candidate=best(every) if every else None,
        together=max((one.fit for one in strong), default=0.0),
        alone=max(map(_alone, changed), default=0.0),
        limits=limits,
    )
    strays = [one for one in changed if _alone(one) >= limits.alone and found.agreement(one) < AGREE]
    if not strays:
        return found
    own = _distinct(strays)
    along = traces_along([one.through(own.T) for one in changed])
    return replace(found, units=torch.cat([found.units, own]), traces=(*common, *along))


def _alone(one: Compared) -> float:
    """How well a matrix fits an edit by itself; 0 where its dose does not count."""
    return one.own.fit if one.own is not None and abs(one.own.dose) >= LEAST_DOSE else 0.0


def _distinct(strays: Sequence[Compared]) -> Float[Tensor, "n d_model"]:
    """The matrices' own directions that differ, those that fit best first."""
    ordered = sorted(strays, key=lambda one: -_alone(one))
    units = torch.stack([one.direction for one in ordered if one.direction is not None])
    kept = units[:1]
    for unit in units[1:]:
        if float((kept @ unit).abs().max()) < AGREE:
            kept = torch.cat([kept, unit[None]])
    return kept
