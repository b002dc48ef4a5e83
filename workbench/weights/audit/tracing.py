"""Which map of the stream explains a change, if any does: the mark that an edit along a direction leaves.

Orthogonalising makes W' = (I - T) W with T = s r r^T for every matrix that writes to the stream; no finetune does. So
with Q, an orthonormal basis of the few directions that changed most, y = Q^T W and z = Q^T D of every matrix:

    1. What shrank or grew as a whole comes first: with -c W the best fit of D outside Q, z becomes z + c y, and y what
       was left to be edited, (1 - c) y.
    2. Candidates r are eigenvectors of two k x k matrices, of which an edit makes the first s r r^T if its dose is the
       same everywhere, and the second a multiple of r r^T whatever the doses:
           the symmetric part of -(sum z y^T / |W|^2) (sum y y^T / |W|^2)^-1, the map that explains all changes best
           sum E / |W|^2, where E = z y^T (y y^T)^-1 y z^T is what a map of its own explains of each matrix' change
    3. Along each, a matrix has its dose and its fit

           s = -<r^T D, r^T W> / |r^T W|^2        fit = s^2 |r^T W|^2 / |r^T D|^2

       and all matrices together the fit of both sums, each weighed by 1 / |W|^2: 1 where r^T W alone says what changed
       along r, and about 1 / columns where r^T D has nothing to do with it, as in an adapter or a finetune.

Of embeddings, where a constant may have been added to every row, means are taken out first: an edit of the origin's
kind, W' = W - s r (r^T W - o), has the same mark, and s o is what was added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.weights.audit.reading import Pair
from workbench.weights.audit.spectra import Difference

LEAST_DOSE = 0.05  # below it nothing is called an edit
_NOTHING = 1e-300
_HALF = 0.5  # a matrix that shrank by more is another one
_APART = 0.5  # cosine below which two candidates are two
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

    def within(self, index: int) -> "Sums":
        """The same through one direction of the basis."""
        part = slice(index, index + 1)
        old, cross, new = (each[part, part] for each in (self.old, self.cross, self.new))
        return Sums(old, cross, new, self.mean_old[part], self.mean_change[part], self.columns)

    def centred(self) -> "Sums":
        """The same of what differs from the means."""
        y, z, n = self.mean_old, self.mean_change, self.columns
        old, cross = self.old - n * torch.outer(y, y), self.cross - n * torch.outer(z, y)
        return Sums(old, cross, self.new - n * torch.outer(z, z), y, z, n)

    def without_shrink(self, whole: Difference) -> "Sums":
        """The same of what the matrix was after it shrank as a whole."""
        outside = whole.old - float(self.old.trace())
        shrink = (float(self.cross.trace()) - whole.inner) / outside if outside > _OUTSIDE * whole.old else 0.0
        kept = 1.0 - shrink if abs(shrink) < _HALF else 1.0
        cross = kept * (self.cross + shrink * self.old)
        new = self.new + shrink * (self.cross + self.cross.T) + shrink**2 * self.old
        mean = self.mean_change + shrink * self.mean_old
        return Sums(kept**2 * self.old, cross, new, kept * self.mean_old, mean, self.columns)


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


@dataclass(frozen=True, eq=False)
class Seen:
    """A changed matrix seen through a basis, beside all of its change; `centred` where its means are taken out."""

    sums: Sums
    whole: Difference
    centred: bool


def traces(seen: Sequence[Seen]) -> list[Trace]:
    """All candidates, those that fit best first."""
    views = _Views.of(seen)
    found = stream_map(views.freed, views.sizes)
    every = [
        _trace(along, views)
        for matrix in ((found + found.T) / 2, explained_energy(views.freed, views.sizes))
        for along in torch.linalg.eigh(matrix).eigenvectors.T
    ]
    return _distinct(sorted(every, key=lambda one: -one.fit))


def traces_along(seen: Sequence[Seen]) -> list[Trace]:
    """What is seen along each direction of the basis itself."""
    alone = [[replace(one, sums=one.sums.within(index)) for one in seen] for index in range(len(seen[0].sums.old))]
    return [_trace(torch.ones(1).double(), _Views.of(each)) for each in alone]


@dataclass(frozen=True, eq=False)
class _Views:
    """The same matrices as they are seen, without what they shrank by, and without their means too."""

    raw: list[Sums]
    apart: list[Sums]
    freed: list[Sums]
    sizes: Float[Tensor, " n"]  # |W|^2

    @classmethod
    def of(cls, seen: Sequence[Seen]) -> "_Views":
        apart = [one.sums.without_shrink(one.whole) for one in seen]
        freed = [sums.centred() if one.centred else sums for one, sums in zip(seen, apart, strict=True)]
        return cls([one.sums for one in seen], apart, freed, torch.tensor([one.whole.old for one in seen]).double())


def _distinct(found: Sequence[Trace]) -> list[Trace]:
    """Those that are not nearly another one that fits better."""
    kept: list[Trace] = []
    for one in found:
        if all(abs(float(one.along @ other.along)) < _APART for other in kept):
            kept.append(one)
    return kept


def best(found: Sequence[Trace]) -> Trace:
    """The one that fits best of those with a dose that counts; the first where none has."""
    return next((one for one in found if abs(one.dose) >= LEAST_DOSE), found[0])


def stream_map(seen: Sequence[Sums], sizes: Float[Tensor, " n"]) -> Float[Tensor, "k k"]:
    """The one map of y that explains most of the changes."""
    old, cross, _ = (einsum(torch.stack(part), 1 / sizes, "n i j, n -> i j") for part in _parts(seen))
    found: Tensor = -cross @ torch.linalg.pinv(old, hermitian=True)
    return found


def explained_energy(seen: Sequence[Sums], sizes: Float[Tensor, " n"]) -> Float[Tensor, "k k"]:
    """What of z z^T a map of y explains, a map of its own in each matrix."""
    parts = [one.cross @ torch.linalg.pinv(one.old, hermitian=True) @ one.cross.T for one in seen]
    return einsum(torch.stack(parts), 1 / sizes, "n i j, n -> i j")


def _trace(along: Float[Tensor, " k"], views: _Views) -> Trace:
    """What every matrix shows along one direction."""
    was, moved, now = (_along(along, part) for part in _parts(views.raw))
    old, cross, new = (_along(along, part) for part in _parts(views.freed))
    doses = -cross / old.clamp_min(_NOTHING)
    explained = doses.square() * old
    fits = (explained / new.clamp_min(_NOTHING)).clamp(max=1.0)
    left = ((was + 2 * moved + now) / was.clamp_min(_NOTHING)).clamp_min(0.0).sqrt()
    fit = float((explained / views.sizes).sum() / (new / views.sizes).sum().clamp_min(_NOTHING))
    shares = doses.square() * _along(along, _parts(views.apart)[0]) / views.sizes
    lists = [tuple(each.tolist()) for each in (doses, fits, left, shares)]
    return Trace(along, lists[0], lists[1], lists[2], lists[3], min(fit, 1.0))


def _parts(seen: Sequence[Sums]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    return [one.old for one in seen], [one.cross for one in seen], [one.new for one in seen]


def _along(along: Tensor, part: list[Tensor]) -> Float[Tensor, " n"]:
    return einsum(along, torch.stack(part), along, "i, n i j, j -> n")
