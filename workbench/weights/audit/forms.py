"""In which form a direction was taken out of a matrix: as it is, or with the lengths of columns or rows kept.

Without anything kept, what column j and row i lose of their squared length is known from the dose alone, t = r^T W:

    column j    s (2 - s) t_j^2                    row i    2 s r_i (W t)_i - s^2 r_i^2 |t|^2

Where the losses of columns have nothing to do with what they should be (a slope near 0 instead of 1), columns were
kept; rows by the same token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.reading import Pair

PLAIN, COLUMNS, ROWS = "orthogonalised", "columns kept at their length", "rows kept at their length"
_LOOKED_AT = 8  # matrices, evenly over the model
_HALF = 0.5
_LEAST = 0.05  # of s (2 - s), below which a reflection or nothing is expected to change no length


def form_of(edited: Sequence[tuple[Compared, float]], unit: Float[Tensor, " d_model"]) -> str:
    """The form of an edit along `unit`, from matrices that show it and their doses; nothing where none tells."""
    told = [(one, dose) for one, dose in edited if abs(dose * (2 - dose)) >= _LEAST]
    if not told:
        return ""
    some = told[:: max(1, -(-len(told) // _LOOKED_AT))]
    votes = [_of_one(one.pair, dose, unit) for one, dose in some]
    return max(sorted(set(votes)), key=votes.count)


def _of_one(pair: Pair, dose: float, unit: Tensor) -> str:
    lost, due, row_lost, reads, total = [], [], torch.zeros(len(unit)), torch.zeros(len(unit)), 0.0
    for before, after in pair.blocks():
        write = unit @ before
        loss = before.square() - after.square()
        lost.append(loss.sum(dim=0))
        due.append(dose * (2 - dose) * write.square())
        row_lost = row_lost + loss.sum(dim=1)
        reads = reads + before @ write
        total += float(write.square().sum())
    row_due = 2 * dose * unit * reads - dose**2 * unit.square() * total
    if slope(torch.cat(lost), torch.cat(due)) < _HALF:
        return COLUMNS
    return ROWS if slope(row_lost, row_due) < _HALF else PLAIN


def slope(found: Float[Tensor, " n"], expected: Float[Tensor, " n"]) -> float:
    """Of the regression of one on the other."""
    x, y = expected.double() - expected.double().mean(), found.double() - found.double().mean()
    return float((x @ y) / (x @ x).clamp_min(1e-300))
