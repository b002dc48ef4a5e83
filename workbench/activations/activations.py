"""Captured activations, in memory or on disk, and their moments."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.activations.store import ActivationStore
from workbench.errors import CaptureError
from workbench.models import Site


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some examples' values [example position site d_model]: held, or read from the store by key."""

    rows: tuple[int, ...]
    held: Tensor | None = None
    store: ActivationStore | None = None
    key: str = ""

    def read(self, position: int | slice = slice(None), site: int | slice = slice(None)) -> Tensor:
        if self.held is not None:
            return self.held[:, position, site]
        if self.store is None:
            raise CaptureError("A chunk of activations is neither held nor stored; capture them again.")
        return self.store.read(self.key, position, site)


@dataclass(frozen=True, eq=False)
class Activations:
    """What was captured: one vector for each example, position and site.

    `positions` count from the end of the prompt (-1 is the last token); an empty tuple means one position, the
    average over the prompt's tokens without the first. Examples keep the order of the prompts.
    """

    chunks: tuple[Chunk, ...]
    sites: tuple[Site, ...]
    positions: tuple[int, ...]
    labels: tuple[str | None, ...]
    prompt_digests: tuple[str, ...]
    model_digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        places = f"{max(1, len(self.positions))} positions x {len(self.sites)} sites"
        return f"Activations({len(self)} examples x {places}, model {self.model_digest[:8]})"

    @property
    def values(self) -> Float[Tensor, "example position site d_model"]:
        """Everything at once, in memory."""
        return self._ordered([chunk.read() for chunk in self.chunks])

    def at(self, site: Site, position: int | None = None) -> Float[Tensor, "example d_model"]:
        """The vectors at one site and position; only these are read from disk."""
        index = 0 if position is None else self._index(position)
        return self._ordered([chunk.read(index, self.sites.index(site)) for chunk in self.chunks])

    def _index(self, position: int) -> int:
        if position not in self.positions:
            raise CaptureError(f"Position {position} was not captured; there are: {list(self.positions)}.")
        return self.positions.index(position)

    def _ordered(self, parts: Sequence[Tensor]) -> Tensor:
        rows = torch.tensor([row for chunk in self.chunks for row in chunk.rows])
        return torch.cat(list(parts))[torch.argsort(rows)]


class Moments:
    """Count, mean and (where asked) second moment of vectors that stream by, in float64.

    `mean` has the shape of one example, [position site d_model]. `second` is E[h h^T], uncentred, over all
    that was added at one position and site [d_model d_model].
    """

    def __init__(self, with_second: bool = False) -> None:
        self.n = 0
        self._sum: Tensor | None = None
        self._outer: Tensor | None = None
        self._with_second = with_second

    def add(self, values: Float[Tensor, "example position site d_model"]) -> None:
        """Fold a chunk in."""
        wide = values.double()
        total = wide.sum(dim=0)
        self.n += len(wide)
        self._sum = total if self._sum is None else self._sum + total
        if self._with_second:
            flat = wide.reshape(-1, wide.shape[-1])
            outer = flat.T @ flat
            self._outer = outer if self._outer is None else self._outer + outer

    @property
    def mean(self) -> Float64[Tensor, "position site d_model"]:
        if self._sum is None:
            raise CaptureError("No activations were captured, so they have no mean; give at least one prompt.")
        return self._sum / self.n

    @property
    def second(self) -> Float64[Tensor, "d_model d_model"]:
        if self._outer is None or self._sum is None:
            raise CaptureError("No second moment was captured; ask for it with with_second=True.")
        return self._outer / (self.n * self._sum.shape[0] * self._sum.shape[1])
