"""Rows that begin alike, whose beginning is read once: a template's system prompt is half of many a prompt."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch

from workbench.models import Batch, Layout, Subject
from workbench.models.batches import shared_prefix


@dataclass(frozen=True, eq=False)
class Prefix:
    """`length` tokens that all rows begin with; `cache` holds them, where they may be read by themselves."""

    length: int
    cache: Any

    @classmethod
    def of(cls, subject: Subject, batches: Sequence[Batch], gradients: bool = False) -> "Prefix":
        """What these batches share; nothing where there is but one row."""
        if sum(map(len, batches)) < 2:
            return cls(0, None)
        length, first = shared_prefix(batches), batches[0]
        if not length or not subject.may_share(max(int(batch.ids.shape[1]) for batch in batches)):
            return cls(length, None)
        ids = first.ids[0, first.attention[0]][None, :length]
        places = torch.arange(length, device=ids.device)[None]
        layout = Layout(places, torch.ones_like(ids).bool(), first.prompt_lengths[:1], ids)
        _, cache = subject.read_on(ids, layout.real, layout, None, last=1, gradients=gradients)
        return cls(length, cache)

    def read(self, subject: Subject, batch: Batch, gradients: bool = False) -> Layout:
        """Read the rest of a batch; hooks see the columns of the layout that is returned."""
        if self.cache is None:
            whole = batch.layout()
            subject.read_on(batch.ids, batch.attention, whole, None, last=1, gradients=gradients)
            return whole
        whole, skipped = batch.layout(), self.length
        position = whole.position[:, skipped:]
        real = position >= skipped
        layout = Layout(torch.where(real, position, -1), real, whole.prompt_lengths, whole.ids[:, skipped:])
        before = torch.ones(len(batch), skipped, dtype=torch.bool, device=real.device)
        subject.read_on(
            batch.ids[:, skipped:], torch.cat([before, real], dim=1), layout, self._branched(len(batch)), last=1,
            gradients=gradients,
        )  # fmt: skip
        return layout

    def _branched(self, rows: int) -> Any:
        """A cache for so many rows that goes on from this one, which stays as it is."""
        own = copy(self.cache)
        own.layers = [copy(layer) for layer in self.cache.layers]
        own.batch_repeat_interleave(rows)
        return own
