"""What all rows of some batches begin with is read once, and not once a row.

A template's system prompt is half of many a prompt. The rest of each row is padded behind what is shared, so that a
row's tokens are not next to each other in the cache. Most models do not care, for they go by positions; one whose
attention counts columns (ALiBi of MPT, a window) does, and an architecture whose cache has no rows cannot. So it is
tried when a model is opened (`shares`), and a window is asked for where rows may be longer.
"""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models.batches import Batch, Layout, shared_prefix

if TYPE_CHECKING:
    from workbench.models.subject import Subject

_WORTH = 4  # tokens that all rows begin with
_WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")
_ROUNDINGS = 3  # times the gap that is allowed of the bridge: rows of another width are multiplied in another order
_TRIED = (4, (1, 4))  # tokens that are shared, and that two rows have beside


def last_logits(
    subject: "Subject", batches: Sequence[Batch], gradients: bool = False
) -> list[Float[Tensor, "batch vocab"]]:
    """Logits after each row of each batch: `Subject.last_logits`."""
    shared = shared_prefix(batches)
    widest = max(int(batch.ids.shape[1]) for batch in batches)
    if shared < _WORTH or sum(map(len, batches)) == 1 or not subject.may_share(widest):
        return [subject.logits(batch, last=1, gradients=gradients)[:, -1] for batch in batches]
    return _after(subject, batches, shared, gradients)


def window_of(config: Any) -> int | None:
    """How many tokens back the shortest attention window of a model reaches; None where there is none."""
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in _WINDOWS]
    return min((int(each) for each in found if each is not None), default=None)


def shares(subject: "Subject", allowed: float) -> bool:
    """Whether this model says the same after a beginning that was read once, up to rounding.

    `allowed` is the gap of the bridge, as a share of the largest logit. Where columns count it is a tenth and more.
    """
    begun, ends = _TRIED
    ids = [token % subject.bridge.cfg.d_vocab for token in range(1, 1 + begun + max(ends))]
    batch = subject.batch([[*ids[:begun], *ids[-end:]] for end in ends])
    plain = subject.logits(batch, last=1)[:, -1].float()
    try:
        found = torch.cat(_after(subject, [batch], begun, False)).float()
    except (AttributeError, NotImplementedError, TypeError):  # its cache is of another kind
        return False
    return float((found - plain).abs().max()) <= _ROUNDINGS * allowed * max(1.0, float(plain.abs().max()))


def _after(subject: "Subject", batches: Sequence[Batch], shared: int, gradients: bool) -> list[Tensor]:
    first = batches[0]
    row = int(first.attention.sum(dim=1).argmax())
    ids = first.ids[row, first.attention[row]][None, :shared]
    shortest = torch.stack([batch.prompt_lengths.min() for batch in batches]).min()
    places = torch.arange(shared, device=subject.device)[None]
    layout = Layout(places, torch.ones_like(ids).bool(), shortest[None], ids)
    _, cache = subject.read_on(ids, layout.real, layout, None, last=1, gradients=gradients)
    return [_continued(subject, batch, shared, cache, gradients) for batch in batches]


def _continued(
    subject: "Subject", batch: Batch, shared: int, cache: Any, gradients: bool
) -> Float[Tensor, "batch vocab"]:
    """Logits after each row, from the cache of the tokens that all rows begin with."""
    whole = batch.layout()
    position = whole.position[:, shared:]
    real = position >= shared
    layout = Layout(torch.where(real, position, -1), real, whole.prompt_lengths, whole.ids[:, shared:])
    attention = torch.cat([torch.ones(len(batch), shared, dtype=torch.bool, device=subject.device), real], dim=1)
    own = _branched(cache)
    own.batch_repeat_interleave(len(batch))
    logits, _ = subject.read_on(batch.ids[:, shared:], attention, layout, own, last=1, gradients=gradients)
    return logits[:, -1]


def _branched(cache: Any) -> Any:
    """A cache that goes on from another one, which stays as it is; their tensors, never written to, are shared."""
    own = copy(cache)
    own.layers = [copy(layer) for layer in cache.layers]
    return own
