"""How much of a matrix changed, and in how many directions: D = W' - W, its size and its spectrum.

    D D^T = sum_i e_i v_i v_i^T           e_i: the energy of D along v_i, a direction of the stream where W is a writer

Rounding is no edit. A number is kept to half a step of its dtype, step(w) = eps 2^floor(log2 |w|), so that rounding
alone leaves D with about n(i) = sum_j step(W_ij)^2 / 12 in row i, over the numbers that differ. A direction counts
where

    e_i > slack (v_i^T diag(n) v_i) (1 + sqrt(rows / columns))^2

which is where the spectrum of noise of that energy ends (Marchenko and Pastur 1967). The rank is how many of those it
takes to explain 99 % of what they hold above the floor. A tensor that differs by no more than half a step anywhere was
rounded, and nothing else. Changes of much less than half a step are lost with the rounding and cannot be found here.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ModelError
from workbench.weights.audit.reading import FLOATS, Pair

KEPT = 16  # leading directions of a matrix that are kept
_SHARE = 0.99  # of the energy above the floor, that the rank explains
_SLACK = 1.5  # rounded numbers are not quite spread evenly over their step
_SMALL = 2048  # rows; larger matrices gain more from threads than they lose by waiting for them
COARSER = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Difference:
    """How one tensor differs from the base's; its spectrum is None where only sizes were asked for."""

    old: float  # |W|^2
    inner: float  # <W, D>
    energy: float  # |D|^2
    share: float  # of the numbers, that differ
    columns: int
    rounded: bool  # nowhere by more than half a step
    rounding: float  # what rounding every number leaves of |D|^2, at most
    energies: Float[Tensor, " rows"] | None = None
    vectors: Float[Tensor, "rows kept"] | None = None
    rank: int | None = None

    @property
    def size(self) -> float:
        """|D| / |W|."""
        return float((self.energy / self.old) ** 0.5) if self.old > 0 else float(self.energy > 0)


def equal(pair: Pair) -> bool:
    """Whether both hold the same numbers."""
    return all(torch.equal(before, after) for before, after in pair.raw())


class Pool:
    """What changed in many matrices together, each of the same weight: the sum of D D^T / |D|^2."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def add(self, gram: Float[Tensor, "rows rows"]) -> None:
        share = gram / gram.diagonal().sum()
        self._total = share if self._total is None else self._total + share

    def leading(self) -> Float[Tensor, "rows kept"]:
        """The directions that changed most, as columns."""
        assert self._total is not None
        return eigen(self._total)[1][:, :KEPT].clone()


def difference(pair: Pair, pool: Pool | None = None) -> Difference:
    """Compare one tensor; where it joins a `pool`, with its spectrum, which costs a product of the matrix's size.

    Raises ModelError where a number is not finite.
    """
    sums = _Sums(pair)
    for before, after in pair.blocks():
        sums.add(before, after, spectrum=pool is not None)
    plain, floor = sums.result()
    if plain.rounded or sums.gram is None or pool is None:
        return plain
    pool.add(sums.gram)
    return _with_spectrum(plain, sums.gram, floor)


class _Sums:
    """What is added up over the slices of a pair."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.old = self.inner = self.energy = self.worst = self.every = 0.0
        self.differ = self.count = self.columns = 0
        self.steps: Tensor = torch.zeros(())
        self.gram: Tensor | None = None
        self.own = [FLOATS[entry.dtype] for entry in pair.entries]
        # Below it the steps of a dtype shrink no more, those of float16 while its numbers are not yet small.
        self.least = max(torch.finfo(one).smallest_normal for one in (*self.own, torch.float32))
        # The coarser dtypes that hold all numbers of a side: those that a file was cast from.
        self.held = [{one for one in COARSER if torch.finfo(one).eps > torch.finfo(own).eps} for own in self.own]

    def add(self, before: Tensor, after: Tensor, spectrum: bool) -> None:
        change = after - before
        self.old += float(before.square().sum(dtype=torch.float64))
        self.inner += float((before * change).sum(dtype=torch.float64))
        self.energy += float(change.square().sum(dtype=torch.float64))
        if not self.old + self.energy < float("inf"):
            self._refuse(before)
        differs = change != 0
        self.differ += int(differs.sum())
        self.count += change.numel()
        self.columns += change.shape[1]
        step = binade(before)
        # What was rounded is in the same binade as its rounding, or one below.
        smaller = torch.minimum(step, binade(after)).clamp_min(self.least)
        self.worst = max(self.worst, float((change.abs() / smaller).max()) if change.numel() else 0.0)
        noise = step.square()
        self.every += float(noise.sum(dtype=torch.float64))
        self.steps = self.steps + (noise * differs).sum(dim=1).double()
        for numbers, held in zip((before, after), self.held, strict=True):
            held -= {dtype for dtype in held if not holds(dtype, numbers)}
        if spectrum:
            gram = (change @ change.T).double()
            self.gram = gram if self.gram is None else self.gram + gram

    def _refuse(self, before: Tensor) -> None:
        whose = self.pair.suspect if torch.isfinite(before).all() else self.pair.base
        raise ModelError(f"{whose.name} has NaN or infinite values in {self.pair.name}; fetch the weights again.")

    def result(self) -> tuple[Difference, Tensor]:
        """The difference without its spectrum, and what rounding leaves in each row."""
        eps = max(torch.finfo(one).eps for one in (*self.own, *self.held[0], *self.held[1]))
        floor = eps**2 / 12 * self.steps
        share, explained = self.differ / max(self.count, 1), min(eps**2 / 12 * self.every, self.energy)
        rounded = self.worst <= eps / 2
        return Difference(self.old, self.inner, self.energy, share, self.columns, rounded, explained), floor


def holds(dtype: torch.dtype, numbers: Float[Tensor, "*shape"]) -> bool:
    """Whether a dtype has all of these numbers."""
    return torch.equal(numbers.to(dtype).float(), numbers)


def binade(numbers: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """2^floor(log2 |x|) of each number, and 0 of 0: the exponent's bits alone."""
    return (numbers.contiguous().view(torch.int32) & 0x7F800000).view(torch.float32)


def _with_spectrum(plain: Difference, gram: Tensor, floor: Tensor) -> Difference:
    energies, vectors = eigen(gram)
    noise = vectors.double().square().T @ floor
    edge = _SLACK * noise * (1 + (len(gram) / plain.columns) ** 0.5) ** 2
    above = torch.where(energies > edge, energies - noise, 0.0)
    rank = int((above.cumsum(0) < _SHARE * above.sum()).sum()) + 1 if above.any() else 0
    return replace(plain, energies=energies, vectors=vectors[:, :KEPT].clone(), rank=rank)


def eigen(gram: Float[Tensor, "rows rows"]) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows rows"]]:
    """Eigenvalues, the largest first and none below zero, and their vectors as columns, in float32."""
    with _one_thread() if len(gram) <= _SMALL else nullcontext():
        values, vectors = torch.linalg.eigh((gram / gram.diagonal().sum().clamp_min(1e-300)).float())
    scale = gram.diagonal().sum()
    return values.double().clamp_min(0.0).flip(0) * scale, vectors.flip(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread inside: LAPACK's many small steps take a hundred times as long on cores that others use too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
