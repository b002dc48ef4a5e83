"""What was added to what the writers write, whatever they read: in their biases, and as one vector in every embedding.

An ablation of r by s takes s r r^T b of a bias b away; what its bias changed beyond that was added. Of an embedding it
is the intercept of r^T D over r^T W.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.tracing import Sums

_CONSTANT = 0.99  # of an embedding's change, that one vector explains where nothing else was done to it
_AGREE = 0.95
_WORTH = 0.05  # of the size of what it is added to, below which an addition is not told


@dataclass(frozen=True, eq=False)
class Shift:
    """How the vector that one writer adds changed: its bias, or the mean of its embeddings."""

    name: str  # of the tensor
    writer: str
    old: Float[Tensor, " d_model"]
    change: Float[Tensor, " d_model"]
    size: float  # of what it is added to
    alone: bool  # nothing else in this tensor changed

    def along(self, unit: Float[Tensor, " d_model"], dose: float) -> float:
        """What was added along `unit`, beyond what a dose of its ablation does to it; 0 where that is little."""
        found = float(unit @ self.change + dose * (unit @ self.old))
        return found if abs(found) >= _WORTH * self.size else 0.0


def bias_shifts(compared: Sequence[Compared], biases: Mapping[str, str]) -> list[Shift]:
    """Of the biases of writers, by the names of their tensors."""
    found = []
    for one in compared:
        if one.changed and one.part.name in biases and one.part.pair is not None:
            before, after = next(one.part.pair.blocks())
            old, change = before[:, 0], (after - before)[:, 0]
            found.append(Shift(one.part.name, biases[one.part.name], old, change, float(old.norm()), True))
    return found


def embedding_shift(one: Compared, seen: Sums, basis: Float[Tensor, "d_model k"]) -> Shift:
    """The vector that every embedding was given."""
    constant = seen.columns * float(seen.mean_change.square().sum())
    alone = constant >= _CONSTANT * (one.whole.energy - one.whole.rounding)
    old, change = basis @ seen.mean_old.float(), basis @ seen.mean_change.float()
    size = (one.whole.old / seen.columns) ** 0.5
    return Shift(one.part.name, str(one.part.writer), old, change, size, alone)


def one_added(compared: Sequence[Compared], shifts: Sequence[Shift]) -> Float[Tensor, " d_model"] | None:
    """The unit vector that was added, where nothing else changed and it is one up to its lengths."""
    alone = {shift.name: shift for shift in shifts if shift.alone}
    if not alone or {one.part.name for one in compared if one.changed} != alone.keys():
        return None
    units = torch.nn.functional.normalize(torch.stack([shift.change for shift in alone.values()]), dim=1)
    return units[0] if bool(((units @ units[0]).abs() >= _AGREE).all()) else None
