"""The stream of many tokens at every site, to learn from and to measure on.

Tokens that all prompts begin with (the template's, a system prompt) are left out, for they are the same text again and
again, and so is the first token of each prompt, whose activations are massive (Sun et al. 2024).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.activations import read_streams
from workbench.errors import CaptureError
from workbench.models import Batch, Site, Subject, token_rows
from workbench.models.batches import shared_prefix
from workbench.prompts import Prompts
from workbench.runs import track

_BATCH = 16


@dataclass(frozen=True, eq=False)
class Streams:
    """In the model's own dtype. `prompt` is the number of the prompt that each token is of."""

    values: Float[Tensor, "site token d_model"]
    prompt: Int[Tensor, " token"]

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def pick(self, tokens: Int[Tensor, " fewer"]) -> "Streams":
        """Some of the tokens."""
        return Streams(self.values[:, tokens], self.prompt[tokens])


def gather_streams(
    subject: Subject, prompts: Prompts, sites: Sequence[Site], *, each: int | None = None, most: int | None = None
) -> Streams:
    """Streams of the prompts' tokens, `each` of them spread evenly over a prompt and ending in its last (None: all).

    No more than `most` tokens are kept, whole prompts at a time, and one prompt at least. Raises CaptureError where a
    value is not a finite number.
    """
    rows = token_rows(subject, prompts)
    batches = subject.batches(rows, _BATCH)
    shared = max(1, shared_prefix([batch for _, batch in batches]) if len(rows) > 1 else 1)
    kept = [_chosen(len(row), shared, each) for row in rows]
    held = _within(kept, most)
    parts, numbers = [], []
    for group, batch in track(batches, "Reading the stream"):
        mine = [place for place, number in enumerate(group) if number in held]
        if mine:
            parts.append(_read(subject, batch, sites, [kept[n] if n in held else [] for n in group]))
            numbers += [group[place] for place in mine for _ in kept[group[place]]]
    values = torch.cat(parts, dim=1)
    if not bool(torch.isfinite(values).all()):
        raise CaptureError(f"{subject.name} gave activations that are not finite; try --dtype float32.")
    return Streams(values, torch.tensor(numbers))


def _chosen(length: int, shared: int, each: int | None) -> list[int]:
    """Positions of a row, counted from its first token."""
    first = min(shared, length - 1)
    if each is None or length - first <= each:
        return list(range(first, length))
    return sorted({round(place) for place in np.linspace(length - 1, first, each)})


def _within(kept: Sequence[Sequence[int]], most: int | None) -> set[int]:
    """The numbers of the first prompts whose tokens are no more than `most`."""
    total = np.cumsum([len(places) for places in kept])
    return {number for number, sum_ in enumerate(total.tolist()) if most is None or number == 0 or sum_ <= most}


def _read(
    subject: Subject, batch: Batch, sites: Sequence[Site], chosen: Sequence[Sequence[int]]
) -> Float[Tensor, "site token d_model"]:
    pad = (batch.ids.shape[1] - batch.prompt_lengths).tolist()
    rows = [row for row, places in enumerate(chosen) for _ in places]
    columns = [pad[row] + place for row, places in enumerate(chosen) for place in places]
    pick: Callable[[Tensor], Tensor] = lambda acts: acts[rows, columns].cpu()  # noqa: E731
    found = read_streams(subject, batch, sites, pick)
    return torch.stack([found[site] for site in sites])
