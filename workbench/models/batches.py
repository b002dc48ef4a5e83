"""Token batches, and the layout of the forward pass that is running.

Prompts are padded on the left, so that the last column is the last token of every row. While a Subject runs a
pass it publishes the pass's `Layout` in a ContextVar; whoever hooks into the model reads there which columns
are padding, which belong to the prompt and which were generated. So masks hold in cached decoding too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Left-padded token ids. `prompt_lengths` counts the real tokens of each row's prompt."""

    ids: Int[Tensor, "batch pos"]
    attention: Bool[Tensor, "batch pos"]
    prompt_lengths: Int[Tensor, " batch"]

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> "Batch":
        """Pad rows of token ids on the left."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        columns = torch.arange(width, device=device)
        return cls(ids, columns >= (width - lengths)[:, None], lengths)

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    def layout(self) -> "Layout":
        """The layout of a pass over this whole batch."""
        position = self.attention.long().cumsum(dim=1) - 1
        return Layout(position, self.attention, self.prompt_lengths, self.ids)


def shared_prefix(batches: Sequence[Batch]) -> int:
    """How many tokens all rows begin with, at least one less than the shortest has."""
    rows = [row[real].tolist() for batch in batches for row, real in zip(batch.ids, batch.attention, strict=True)]
    least, most = min(rows), max(rows)  # what the first and the last in order have in common, all have
    agree = (i for i, (one, other) in enumerate(zip(least, most, strict=False)) if one != other)
    return min(next(agree, len(least)), min(map(len, rows)) - 1)


@dataclass(frozen=True)
class Layout:
    """Where each column of the running pass stands in its row.

    `position` counts the row's own tokens from 0 (-1 on padding); `real` is False on padding;
    `prompt_lengths` is where the prompt of each row ends and the reply begins; `ids` are the tokens.
    """

    position: Int[Tensor, "batch pos"]
    real: Bool[Tensor, "batch pos"]
    prompt_lengths: Int[Tensor, " batch"]
    ids: Int[Tensor, "batch pos"]

    def of_rows(self, rows: Sequence[int]) -> "Layout":
        """The layout of some rows alone."""
        kept = list(rows)
        return Layout(self.position[kept], self.real[kept], self.prompt_lengths[kept], self.ids[kept])

    @property
    def in_reply(self) -> Int[Tensor, "batch pos"]:
        """The number of each token in its reply, from 0; below 0 in the prompt."""
        return self.position - self.prompt_lengths[:, None]

    @property
    def in_prompt(self) -> Bool[Tensor, "batch pos"]:
        return self.real & (self.position < self.prompt_lengths[:, None])

    @property
    def generated(self) -> Bool[Tensor, "batch pos"]:
        return self.real & (self.position >= self.prompt_lengths[:, None])


_layout: ContextVar[Layout | None] = ContextVar("workbench_layout", default=None)
_whole: ContextVar[bool] = ContextVar("workbench_whole_rows", default=False)


def current_layout() -> Layout | None:
    """The layout of the pass that is running in this context, if a Subject runs it."""
    return _layout.get()


@contextmanager
def running(layout: Layout) -> Iterator[None]:
    """Publish `layout` for the duration of one forward pass."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def needs_whole_rows() -> bool:
    """Whether somebody hooks in who must see every row from its first token, so that no beginning may be shared."""
    return _whole.get()


@contextmanager
def whole_rows(needed: bool) -> Iterator[None]:
    """Ask, for the duration of the block, that passes hold whole rows."""
    token = _whole.set(needed or _whole.get())
    try:
        yield
    finally:
        _whole.reset(token)
