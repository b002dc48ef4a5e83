"""Two checkpoints beside each other, read from disk a slice of one tensor at a time.

No model is opened or run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.weights.shards import Entry, entries_of, opened

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BLOCK = 1 << 22  # numbers of one tensor that are held at once


@dataclass(frozen=True)
class Stored:
    """The tensors of a folder by the names that its architecture gives them."""

    name: str
    entries: Mapping[str, Entry]

    @classmethod
    def of(cls, folder: Path, name: str, known: str) -> "Stored":
        """Read the headers; `known` is a tensor that must be there. Raises ModelError where a file is not whole."""
        found = entries_of(folder)
        head, _, tail = known.partition(".")
        if known not in found and tail in found:
            # Some folders leave out the name of the body, as the first GPT-2 did.
            found = {key if key.startswith("lm_head") else f"{head}.{key}": entry for key, entry in found.items()}
        return cls(name, found)

    def slices(self, name: str, cuts: Iterable[tuple[slice, ...]]) -> Iterator[Tensor]:
        """Slices of a tensor, in the dtype that it is stored in."""
        entry = self.entries[name]
        with opened(entry.file) as tensors:
            part = tensors.get_slice(entry.stored) if entry.shape else None
            for cut in cuts:
                yield tensors.get_tensor(entry.stored) if part is None else part[cut]


@dataclass(frozen=True)
class Pair:
    """One tensor of both, with the axis that comes first in what is made of it: of a writer, the stream's.

    Where one has more rows than the other, as an embedding that was given tokens, those are compared that both have.
    """

    name: str
    base: Stored
    suspect: Stored
    axis: int = 0
    suspect_name: str = ""  # where it is not the base's

    @property
    def entries(self) -> tuple[Entry, Entry]:
        return self.base.entries[self.name], self.suspect.entries[self._other]

    @property
    def _other(self) -> str:
        return self.suspect_name or self.name

    def raw(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Slices of both as they are stored."""
        one, other = self.entries
        cuts = list(_cuts(tuple(map(min, one.shape, other.shape)), self.axis))
        yield from zip(self.base.slices(self.name, cuts), self.suspect.slices(self._other, cuts), strict=True)

    def blocks(self) -> Iterator[tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]]:
        """The same in float32 as matrices; experts that are one tensor come one after the other."""
        for before, after in self.raw():
            yield _matrix(before, self.axis), _matrix(after, self.axis)


def _matrix(part: Tensor, axis: int) -> Tensor:
    """A slice with `axis` first, and everything else as columns."""
    wide = part.float()
    if wide.ndim < 2:
        return wide.reshape(-1, 1)
    return wide.movedim(axis, 0).reshape(wide.shape[axis], -1)


def _cuts(shape: tuple[int, ...], axis: int) -> Iterator[tuple[slice, ...]]:
    """Slices that keep `axis` whole and are small enough to be held."""
    whole = [slice(0, size) for size in shape]
    others = [index for index in range(len(shape)) if index != axis]
    if not others:
        yield tuple(whole)
        return
    along = max(others, key=lambda index: shape[index])
    step = max(1, _BLOCK * shape[along] // max(prod(shape), 1))
    for start in range(0, shape[along], step):
        whole[along] = slice(start, min(start + step, shape[along]))
        yield tuple(whole)
