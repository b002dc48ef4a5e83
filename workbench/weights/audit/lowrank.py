"""Whether a change is of low rank, when what is seen of it went through rounding.

A merged adapter is D = round(W + B A) - W, and where B A is of the size of a step, most of D is the rounding: its
spectrum has no gap. So a rank k is tried out: L_k, the best approximation of that rank, is put through the same
rounding,

    S = round(W + a L_k) - W        a: such that S has the energy of D

and k explains D where S is as like D (in cosine) as another such change of rank k is to its own: the same is done with
S in the place of D. Ranks are 1, 2, 4, ... up to a sixth of the matrix (or 8), on a slice of it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.runs import track
from workbench.weights.audit.reading import FLOATS, Pair
from workbench.weights.audit.spectra import COARSER, eigen, holds

_MOST, _ALWAYS = 1 / 6, 8  # of the smaller side; ranks that are low in any matrix
_LOOKED_AT, _MOSTLY = 12, 0.7  # matrices, and the share of them that has to have a low rank
_WORSE = 1.5  # how much further from D than a change of that rank would be
_EXACT = 1e-4  # of the cosine, what float32 itself may leave
_LIKE = 0.8  # cosine from which on it is worth a closer look
_HALVINGS = 10
_LOUDEST = 16.0  # a change that was nearly all lost in rounding cannot be told from noise
_COLUMNS = 2048


def explained_rank(pair: Pair) -> int | None:
    """The least rank that explains the change of a matrix, rounding aside; None where no low rank does."""
    before, after = next(pair.blocks())
    before, after = before[:, :_COLUMNS], after[:, :_COLUMNS]
    known = [FLOATS[entry.dtype] for entry in pair.entries] + [one for one in COARSER if holds(one, after)]
    dtype = max(known, key=lambda one: torch.finfo(one).eps)
    change = after - before
    if not change.any():
        return None
    vectors, rank = _leading(change), 1
    while rank <= max(_MOST * min(change.shape), min(_ALWAYS, min(change.shape) / 2)):
        made, likeness = simulated(before, change, vectors[:, :rank], dtype)
        if likeness >= _LIKE:
            _, own = simulated(before, made, _leading(made)[:, :rank], dtype)
            if 1 - likeness <= _WORSE * (1 - own) + _EXACT:
                return rank
        rank *= 2
    return None


def simulated(
    before: Float[Tensor, "rows columns"],
    change: Float[Tensor, "rows columns"],
    basis: Float[Tensor, "rows rank"],
    dtype: torch.dtype,
) -> tuple[Float[Tensor, "rows columns"], float]:
    """What rounding makes of the change within a basis, and its cosine with the change."""
    low = basis @ (basis.T @ change)
    target, least, most = float(change.norm()), 1.0, _LOUDEST
    made = _rounded(before, low, dtype)
    for _ in range(_HALVINGS if float(made.norm()) < target else 0):
        middle = (least * most) ** 0.5
        made = _rounded(before, middle * low, dtype)
        least, most = (middle, most) if float(made.norm()) < target else (least, middle)
    return made, float((made * change).sum() / (made.norm() * target).clamp_min(1e-30))


def _rounded(before: Tensor, change: Tensor, dtype: torch.dtype) -> Tensor:
    return (before + change).to(dtype).float() - before


def _leading(change: Tensor) -> Tensor:
    return eigen((change @ change.T).double())[1]


def low_ranks(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The ranks that explain matrices of a sample, evenly over the model; nothing where too few have one."""
    sample = pairs[:: max(1, -(-len(pairs) // _LOOKED_AT))]
    ranks = [explained_rank(pair) for pair in track(sample, "Trying low ranks")]
    found = tuple(rank for rank in ranks if rank is not None)
    return found if found and len(found) >= _MOSTLY * len(ranks) else ()
