"""What an edit does, written as matrices: the form in which it can be put into weights, or into an adapter.

    h' = keep h + left^T (right h) + shift

An ablation of r by s is left = -s r, right = r; an addition is a shift alone. Maps of one place compose, so that a
recipe at one writer is one map, whose rank is at most the number of directions in it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_EXACT = 1e-5  # what is smaller is the rounding of float32


@dataclass(frozen=True, eq=False)
class LinearMap:
    """h' = keep h + left^T (right h) + shift, in float32. The rows of `left` and `right` are as many as its rank."""

    left: Float[Tensor, "rank d_model"]
    right: Float[Tensor, "rank d_model"]
    shift: Float[Tensor, " d_model"]
    keep: float = 1.0

    @classmethod
    def nothing(cls, d_model: int) -> "LinearMap":
        """The map that changes nothing."""
        return cls(torch.zeros(0, d_model), torch.zeros(0, d_model), torch.zeros(d_model))

    @classmethod
    def removing(cls, basis: Float[Tensor, "rank d_model"], strength: float) -> "LinearMap":
        """The map that takes away `strength` of the component in the span of orthonormal rows."""
        return cls(-strength * basis, basis, torch.zeros(basis.shape[1]))

    @classmethod
    def adding(cls, shift: Float[Tensor, " d_model"]) -> "LinearMap":
        """The map that adds one vector."""
        return cls.keeping(1.0, shift)

    @classmethod
    def keeping(cls, keep: float, shift: Float[Tensor, " d_model"]) -> "LinearMap":
        """The map that shrinks an activation, and adds one vector."""
        none = torch.zeros(0, len(shift))
        return cls(none, none, shift.float(), keep)

    @property
    def rank(self) -> int:
        return len(self.left)

    @property
    def d_model(self) -> int:
        return len(self.shift)

    @property
    def shifts(self) -> bool:
        """Whether it adds something to an activation of zero."""
        return bool(self.shift.any())

    @property
    def turns(self) -> bool:
        """Whether it does more than to add."""
        return self.rank > 0 or self.keep != 1.0

    def __call__(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        wide = acts.float()
        return (self.keep * wide + (wide @ self.right.to(wide).T) @ self.left.to(wide) + self.shift.to(wide)).to(acts)

    def then(self, other: "LinearMap") -> "LinearMap":
        """This map, and `other` after it."""
        right = self.keep * other.right.double()
        right = right + (other.right.double() @ self.left.double().T) @ self.right.double()
        shift = other.keep * self.shift.double() + other.shift.double()
        shift = shift + (other.right.double() @ self.shift.double()) @ other.left.double()
        left = torch.cat([other.keep * self.left.double(), other.left.double()])
        both = torch.cat([self.right.double(), right])
        return LinearMap(left.float(), both.float(), shift.float(), self.keep * other.keep)

    def cleared(self) -> Float[Tensor, "rank d_model"]:
        """An orthonormal basis of what it takes away whole: c h' = c shift for every h, for c in the span."""
        if not self.rank or self.keep != 1.0:
            return torch.zeros(0, self.d_model)
        left, right = self.left.double(), self.right.double()
        # c (keep I + left^T right) = 0 asks c to be a combination of right's rows, and there it is a null space.
        rows = torch.linalg.qr(right.T).Q.T
        combined, sizes, _ = torch.linalg.svd(rows + (rows @ left.T) @ right, full_matrices=False)
        return (combined.T[sizes < _EXACT] @ rows).float()
