"""Which map of the stream explains a change, if any does: the mark that an edit along a direction leaves.

Orthogonalising makes W' = (I - T) W with T = s r r^T for every matrix that writes to the stream; no finetune does. So
with Q, an orthonormal basis of the few directions that changed most, y = Q^T W and z = Q^T D of every matrix:

    1. What shrank or grew as a whole is taken out: z + c y, where -c W is the best fit of D outside Q.
    2. In each matrix z is regressed on y. What that explains of z z^T is E = z y^T (y y^T)^-1 y z^T, of an edit
       s^2 |r^T W|^2 r r^T, whatever its dose.
    3. The eigenvectors of sum E / |W|^2 are candidates r. Along each, a matrix has its dose and its fit

           s = -<r^T D, r^T W> / |r^T W|^2        fit = s^2 |r^T W|^2 / |r^T D|^2

       and all matrices together the fit of both sums, each weighed by 1 / |W|^2: 1 where r^T W alone says what changed
       along r, and about 1 / columns where r^T D has nothing to do with it, as in an adapter or a finetune.

Of embeddings, where a constant may have been added to every row, means are taken out first: an edit of the origin's
kind, W' = W - s r (r^T W - o), has the same mark, and s o is what was added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.weights.audit.reading import Pair
from workbench.weights.audit.spectra import Difference

LEAST_DOSE = 0.05  # below it nothing is called an edit
_NOTHING = 1e-300
_OUTSIDE = 1e-6  # of |W|^2, below which a basis leaves nothing to judge a shrink by


@dataclass(frozen=True, eq=False)
class Sums:
    """One changed matrix seen through a basis: y y^T, z y^T and z z^T, and means over its columns."""

    old: Float[Tensor, "k k"]
    cross: Float[Tensor, "k k"]
    new: Float[Tensor, "k k"]
    mean_old: Float[Tensor, " k"]
    mean_change: Float[Tensor, " k"]
    columns: int

    def within(self, part: slice) -> "Sums":
        """The same through some of the basis."""
        old, cross, new = (each[part, part] for each in (self.old, self.cross, self.new))
        return Sums(old, cross, new, self.mean_old[part], self.mean_change[part], self.columns)

    def centred(self) -> "Sums":
        """The same of what differs from the means."""
        y, z, n = self.mean_old, self.mean_change, self.columns
        old, cross = self.old - n * torch.outer(y, y), self.cross - n * torch.outer(z, y)
        return Sums(old, cross, self.new - n * torch.outer(z, z), y, z, n)

    def without_shrink(self, whole: Difference) -> "Sums":
        """The same after what the matrix shrank by as a whole is put back."""
        outside = whole.old - float(self.old.trace())
        shrink = (float(self.cross.trace()) - whole.inner) / outside if outside > _OUTSIDE * whole.old else 0.0
        new = self.new + shrink * (self.cross + self.cross.T) + shrink**2 * self.old
        mean = self.mean_change + shrink * self.mean_old
        return Sums(self.old, self.cross + shrink * self.old, new, self.mean_old, mean, self.columns)


def seen_through(pair: Pair, basis: Float[Tensor, "d_model k"]) -> Sums:
    """What a matrix wrote along the columns of `basis`, and how that changed."""
    k = basis.shape[1]
    old, cross, new = (torch.zeros(k, k, dtype=torch.float64) for _ in range(3))
    mean_old, mean_change, columns = torch.zeros(k).double(), torch.zeros(k).double(), 0
    for before, after in pair.blocks():
        y, z = basis.T @ before, basis.T @ (after - before)
        old += (y @ y.T).double()
        cross += (z @ y.T).double()
        new += (z @ z.T).double()
        mean_old += y.sum(dim=1).double()
        mean_change += z.sum(dim=1).double()
        columns += before.shape[1]
    return Sums(old, cross, new, mean_old / columns, mean_change / columns, columns)


@dataclass(frozen=True, eq=False)
class Trace:
    """A candidate direction, in the coordinates of a basis, and what every matrix shows along it."""

    along: Float[Tensor, " k"]
    doses: tuple[float, ...]
    fits: tuple[float, ...]
    left: tuple[float, ...]  # |r^T W'| / |r^T W|
    shares: tuple[float, ...]  # of |W|^2, the energy of D that the dose explains
    fit: float

    @property
    def dose(self) -> float:
        """The mean dose, where each matrix weighs as much as its dose fits it."""
        total = sum(self.fits)
        return sum(s * fit for s, fit in zip(self.doses, self.fits, strict=True)) / total if total else 0.0


def traces(seen: Sequence[Sums], wholes: Sequence[Difference], centred: Sequence[bool]) -> list[Trace]:
    """All candidates, those that fit best first; `centred` says of which matrices the means are taken out."""
    apart = [one.without_shrink(whole) for one, whole in zip(seen, wholes, strict=True)]
    freed = [one.centred() if middle else one for one, middle in zip(apart, centred, strict=True)]
    sizes = torch.tensor([whole.old for whole in wholes], dtype=torch.float64)
    _, vectors = torch.linalg.eigh(explained_energy(freed, sizes))
    every = [trace(vectors[:, index], freed, seen, sizes) for index in range(vectors.shape[1])]
    return sorted(every, key=lambda one: -one.fit)


def best(found: Sequence[Trace]) -> Trace:
    """The one that fits best of those with a dose that counts; the first where none has."""
    return next((one for one in found if abs(one.dose) >= LEAST_DOSE), found[0])


def explained_energy(seen: Sequence[Sums], sizes: Float[Tensor, " n"]) -> Float[Tensor, "k k"]:
    """What of D D^T, within the basis, a linear map of y explains, added up over the matrices."""
    parts = [one.cross @ torch.linalg.pinv(one.old, hermitian=True) @ one.cross.T for one in seen]
    return einsum(torch.stack(parts), 1 / sizes, "n i j, n -> i j")


def trace(along: Float[Tensor, " k"], seen: Sequence[Sums], raw: Sequence[Sums], sizes: Float[Tensor, " n"]) -> Trace:
    """What every matrix shows along one direction; `raw` is what is seen before shrinks are put back."""
    old, cross, new = (_along(along, part) for part in _parts(seen))
    was, moved, now = (_along(along, part) for part in _parts(raw))
    doses = -cross / old.clamp_min(_NOTHING)
    explained = doses.square() * old
    fits = (explained / new.clamp_min(_NOTHING)).clamp(max=1.0)
    left = ((was + 2 * moved + now) / was.clamp_min(_NOTHING)).clamp_min(0.0).sqrt()
    fit = float((explained / sizes).sum() / (new / sizes).sum().clamp_min(_NOTHING))
    lists = [tuple(each.tolist()) for each in (doses, fits, left, doses.square() * was / sizes)]
    return Trace(along, lists[0], lists[1], lists[2], lists[3], min(fit, 1.0))


def _parts(seen: Sequence[Sums]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    return [one.old for one in seen], [one.cross for one in seen], [one.new for one in seen]


def _along(along: Tensor, part: list[Tensor]) -> Float[Tensor, " n"]:
    return einsum(along, torch.stack(part), along, "i, n i j, j -> n")
