"""Runs in which some activations are replaced, read quickly.

1. What stands before the `kept` last tokens of the rows is read once, into a KV cache: nothing that is replaced later
   in a prompt reaches back to it.
2. Each pass goes on from there and reads the kept tokens alone; a pass that replaces more reads the whole rows, as do
   all passes of a model whose attention window is shorter than the rows.

Equal to reading whole rows up to rounding.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from probes.patching.metric import Metric
from workbench.activations.capturing import read_streams
from workbench.errors import ModelError
from workbench.models import Batch, Layout, Site, Subject

Hooks = Sequence[tuple[Site, Callable[..., Any]]]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows of tokens, the beginning of which is read already (`cache`) where that is possible."""

    subject: Subject
    batch: Batch
    kept: int
    cache: Any

    @classmethod
    def of(cls, subject: Subject, rows: Sequence[Sequence[int]], kept: int) -> "Prepared":
        """Read the beginning of `rows` once."""
        batch = subject.batch(rows)
        if not subject.may_share(int(batch.ids.shape[1])):
            return cls(subject, batch, kept, None)
        ids, real = batch.ids[:, :-kept], batch.attention[:, :-kept]
        _, cache = subject.read_on(ids, real, _columns(batch, slice(None, -kept)), None, last=1)
        return cls(subject, batch, kept, cache)

    def metric(self, metric: Metric, hooks: Hooks = (), whole: bool = False) -> Float64[Tensor, " row"]:
        """The metric of each row while `hooks` are on; with `whole`, they see every token and not the kept alone."""
        with self.subject.hooked(hooks):
            if whole or self.cache is None:
                logits = self.subject.logits(self.batch, last=1)[:, -1]
            else:
                layout = _columns(self.batch, slice(-self.kept, None))
                ids = self.batch.ids[:, -self.kept :]
                logits, _ = self.subject.read_on(ids, self.batch.attention, layout, _own(self.cache), last=1)
                logits = logits[:, -1]
        return metric(logits).cpu()


def _columns(batch: Batch, columns: slice) -> Layout:
    whole = batch.layout()
    return Layout(whole.position[:, columns], whole.real[:, columns], whole.prompt_lengths, whole.ids[:, columns])


def _own(cache: Any) -> Any:
    """A cache that goes on from `cache`, which stays as it is; their tensors are shared and never written to."""
    own = copy(cache)
    own.layers = [copy(layer) for layer in cache.layers]
    return own


def activations_of(
    subject: Subject, rows: Sequence[Sequence[int]], sites: Sequence[Site], last: int | None = None
) -> dict[Site, Tensor]:
    """Activations [row pos ...] of each site, at every position or at the `last` ones; heads stay apart."""
    width = 0 if last is None else -last
    return read_streams(subject, subject.batch(rows), sites, lambda acts: acts[:, width:].clone())


def last_columns(lengths: Sequence[int], width: int) -> Bool[Tensor, "row width"]:
    """Of the `width` last columns, those that belong to the `lengths` last tokens of each row."""
    columns = torch.arange(-width, 0)
    return columns[None] >= -torch.tensor(list(lengths))[:, None]


def replacing(
    source: Float[Tensor, "row wide *rest"], mask: Bool[Tensor, "row width"], head: int | None = None
) -> Callable[..., Tensor]:
    """A hook that puts `source` in the place of what `mask` chooses; both count their columns from the end."""

    def replace(acts: Tensor, hook: object) -> Tensor:
        width = min(mask.shape[1], acts.shape[1], source.shape[1])
        chosen, changed = mask[:, -width:].to(acts.device), acts.clone()
        view, new = changed[:, -width:], source[:, -width:]
        if head is not None:
            view, new = view[:, :, head], new[:, :, head]
        view[chosen] = new[chosen].to(acts)
        return changed

    return replace


def require_heads(subject: Subject, acts: Tensor) -> Tensor:
    """Activations [row pos head d_head]; ModelError where the architecture's heads are not apart."""
    if acts.ndim != 4:
        raise ModelError(f"{subject.name} has no separate heads: their outputs come as {tuple(acts.shape)}.")
    return acts
