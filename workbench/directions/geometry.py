"""Subspaces, and random directions for controls.

A uniformly random unit vector in d dimensions has almost no projection on anything, so ablating it removes
next to nothing and proves next to nothing. The control for ablation is therefore matched: a random direction
whose mean squared projection of the activations equals the real one's.

    w(p) ~ S^(p/2) g,   S = E[h h^T] with the real direction projected out,   g ~ N(0, I)

At p = 0 it is uniform; as p grows it turns towards where activations are large, below 0 away from there.
E[(h . w)^2] grows with p, so bisection finds the p that matches.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_FLOOR = 1e-9  # relative; where activations never go, S has no direction of its own
_STEEPEST = 32.0
_DEPENDENT = 1e-5  # relative; a singular value below it is rounding, for directions are kept in float32


def orthonormal(units: Float[Tensor, "n d_model"]) -> Float[Tensor, "rank d_model"]:
    """An orthonormal basis of the span, in float64 on the way; directions that depend on others add nothing."""
    _, sizes, basis = torch.linalg.svd(units.double(), full_matrices=False)
    return basis[sizes > _DEPENDENT * sizes[0]].float()


def random_unit(
    like: Float[Tensor, " d_model"], seed: int, beside: Sequence[Float[Tensor, " d_model"]] = ()
) -> Float[Tensor, " d_model"]:
    """A uniformly random unit vector orthogonal to `like`, and to what stands `beside` it."""
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = _without(like, beside) @ drawn
    return (drawn / drawn.norm()).float()


def matched_random(
    like: Float[Tensor, " d_model"],
    second: Float[Tensor, "d_model d_model"],
    seed: int,
    beside: Sequence[Float[Tensor, " d_model"]] = (),
) -> tuple[Float[Tensor, " d_model"], float]:
    """A random unit vector orthogonal to `like` with its mean squared projection, and the ratio reached.

    `second` is E[h h^T] of the activations that the direction acts on. The ratio is 1 where the match is exact,
    and something else where no direction orthogonal to `like` carries as much, or as little. It is orthogonal to what
    stands `beside` too: else the control of one of several large directions would turn towards the others.
    """
    unit = like.double()
    moment = second.double()
    target = float(unit @ moment @ unit)
    keep = _without(like, beside)
    values, vectors = torch.linalg.eigh(keep @ moment @ keep)
    values = (values / values.max()).clamp_min(_FLOOR)
    noise = torch.randn(len(unit), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def draw(power: float) -> Tensor:
        drawn = keep @ (vectors @ (values.pow(power / 2) * (vectors.T @ noise)))
        return drawn / drawn.norm()

    def ratio(vector: Tensor) -> float:
        return float(vector @ moment @ vector) / target

    low, high = -_STEEPEST, _STEEPEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(draw(middle)) < 1 else (low, middle)
    found = draw(high)
    return found.float(), ratio(found)


def _without(
    unit: Float[Tensor, " d_model"], beside: Sequence[Float[Tensor, " d_model"]]
) -> Float64[Tensor, "d_model d_model"]:
    """The projector onto what is orthogonal to all of them."""
    rows = orthonormal(torch.stack([unit, *beside])).double() if beside else unit.double()[None]
    return torch.eye(len(unit), dtype=torch.float64) - rows.T @ rows
