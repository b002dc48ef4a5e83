"""What a change of low rank does to what a matrix writes, where that is to take something away.

The adapter's change is D = B A, the matrix W, both [d_model in]. An edit of the output is D = M W, and if it takes away
shares s_i of orthonormal directions u_i, then M = - sum s_i u_i u_i^T, whose columns are in the span U of D's. So

    D = U^T S (U W)         S [rank rank] by least squares from U D and U W: small, whatever the size of W
    S = S^T                 and then - S = sum s_i u_i u_i^T has the strengths as its eigenvalues

An embedding can add, with a column of the same numbers for every token: there U W is given one row of ones more.
Where least squares leave a rest, or S is not symmetric, the change is another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 0.02  # of the change, that rounding (of an adapter or a base in 16 bits) may explain
_FINE = 1e-3  # by which strengths differ that are one, and of the change's length what is nothing
_PARALLEL = 0.9999  # the least cosine between spans that are one


class NotAnAblation(Exception):  # noqa: N818
    """The change is something else; `foreign` says that it is not even an edit of what this matrix writes."""

    def __init__(self, foreign: bool) -> None:
        super().__init__()
        self.foreign = foreign


@dataclass(frozen=True, eq=False)
class Part:
    """A share that is taken away of the component in the span of orthonormal rows; known to within `slack`."""

    strength: float
    basis: Float[Tensor, "rank d_model"]
    slack: float = _FINE

    def __call__(self, values: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
        """What it adds to `values`."""
        return -self.strength * (values @ self.basis.T) @ self.basis

    def is_like(self, other: "Part") -> bool:
        """Whether it is the same removal, up to rounding."""
        if len(self.basis) != len(other.basis) or abs(self.strength - other.strength) > self.slack:
            return False
        return bool(torch.linalg.svdvals(self.basis @ other.basis.T).min() > _PARALLEL)

    @classmethod
    def mean(cls, parts: "Sequence[Part]") -> "Part":
        """One removal for several that are alike; a share that is all but 1 is the whole. Float32 knows six digits."""
        strength = sum(part.strength for part in parts) / len(parts)
        rows = torch.linalg.svd(torch.cat([part.basis for part in parts]), full_matrices=False).Vh
        known = 1.0 if abs(strength - 1.0) < _FINE else round(strength, 6)
        return cls(known, rows[: len(parts[0].basis)])


@dataclass(frozen=True, eq=False)
class Removal:
    """What a matrix no longer writes, and what it writes instead."""

    parts: tuple[Part, ...]
    shift: Float[Tensor, " d_model"]


def recover(
    matrix: Float[Tensor, "d_model in"],
    left: Float[Tensor, "d_model r"],
    right: Float[Tensor, "r in"],
    scaling: float,
    adds: bool,
) -> Removal:
    """What the change `scaling left right` of a matrix is. Raises NotAnAblation."""
    span = _span(left, right)
    change = scaling * span @ left.double() @ right.double()
    read = (span.to(matrix) @ matrix).double().cpu()
    if adds:
        read = torch.cat([read, torch.ones(1, read.shape[1], dtype=read.dtype)])
    found = change @ torch.linalg.pinv(read)
    rest = float((change - found @ read).norm() / change.norm()) if len(span) else 0.0
    turn = found[:, : len(span)]
    if rest > TOLERANCE:
        raise NotAnAblation(foreign=_is_foreign(matrix, right))
    if float(((turn - turn.T) @ read[: len(span)]).norm()) > TOLERANCE * float(change.norm()):
        raise NotAnAblation(foreign=False)
    slack = max(_FINE, _coarseness(left, right))
    least = slack * float(change.norm())
    shift = found[:, -1] @ span if adds else torch.zeros(len(matrix), dtype=torch.float64)
    if float(shift.norm()) * matrix.shape[1] ** 0.5 <= least:
        shift = torch.zeros_like(shift)
    parts = _parts((turn + turn.T) / 2, read[: len(span)], least, slack)
    return Removal(tuple(replace(part, basis=part.basis @ span) for part in parts), shift)


def _span(left: Tensor, right: Tensor) -> Tensor:
    """An orthonormal basis of what the change writes; what is smaller than the rounding of its numbers is left out."""
    first, second = torch.linalg.qr(left.double()), torch.linalg.qr(right.double().T)
    turn, sizes, _ = torch.linalg.svd(first.R @ second.R.T)
    floor = max(1e-5, _coarseness(left, right))
    keep = sizes > floor * sizes[:1] if sizes.any() else torch.zeros_like(sizes).bool()
    return (first.Q @ turn[:, keep]).T


def _coarseness(left: Tensor, right: Tensor) -> float:
    """A unit in the last place of the adapter's numbers, relative."""
    return max(torch.finfo(each.dtype).eps for each in (left, right))


def _parts(turn: Tensor, read: Tensor, least: float, slack: float) -> list[Part]:
    """The eigenvectors, by the rows of what is read; those of like strength together, and none that do nothing."""
    values, vectors = torch.linalg.eigh(turn)
    groups: list[list[int]] = []
    for index, value in enumerate(values):
        if abs(float(value)) * float((vectors[:, index] @ read).norm()) <= least:
            continue
        if groups and float(value - values[groups[-1][0]]) < slack:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [Part(-float(values[group].mean()), vectors[:, group].T, slack) for group in groups]


def _is_foreign(matrix: Tensor, right: Tensor) -> bool:
    """Whether what the change reads is nothing that the matrix writes. Where it is narrow, everything is."""
    rows = right.to(matrix)
    gram = (matrix @ matrix.T).double()
    floor = 1e-6 * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    fitted = torch.linalg.solve(gram + floor, (matrix @ rows.T).double()).T.to(matrix) @ matrix
    return float((rows - fitted).norm()) > TOLERANCE * float(rows.norm())
