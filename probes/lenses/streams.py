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

from probes.lenses.prefix import Prefix
from workbench.errors import CaptureError
from workbench.models import Batch, Site, Subject, token_rows
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
    prefix = Prefix.of(subject, [batch for _, batch in batches])
    kept = [_chosen(len(row), max(1, prefix.length), each) for row in rows]
    held = _within(kept, most)
    parts, numbers = [], []
    for group, batch in track(batches, "Reading the stream"):
        chosen = [kept[number] if number in held else [] for number in group]
        if any(chosen):
            parts.append(_read(subject, batch, sites, chosen, prefix))
            numbers += [number for number, places in zip(group, chosen, strict=True) for _ in places]
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


def _within(kept: Sequence[Sequence[int]], most: int | None, seed: int = 0) -> set[int]:
    """Numbers of prompts whose tokens are no more than `most`: drawn, so that no set of several is left out whole."""
    order = np.random.default_rng(seed).permutation(len(kept)).tolist() if most is not None else range(len(kept))
    total = np.cumsum([len(kept[number]) for number in order]).tolist()
    return {number for place, number in enumerate(order) if most is None or place == 0 or total[place] <= most}


def _read(
    subject: Subject, batch: Batch, sites: Sequence[Site], chosen: Sequence[Sequence[int]], prefix: Prefix
) -> Float[Tensor, "site token d_model"]:
    """The chosen tokens of each row, counted from the row's first."""
    found: dict[Site, Tensor] = {}
    lengths = batch.prompt_lengths.tolist()
    rows = [row for row, places in enumerate(chosen) for _ in places]
    columns = [place - lengths[row] for row, places in enumerate(chosen) for place in places]  # from the end

    def keeping(site: Site) -> Callable[..., None]:
        def keep(acts: Tensor, hook: object) -> None:
            found[site] = acts[rows, columns].cpu()

        return keep

    with subject.hooked([(site, keeping(site)) for site in sites]):
        prefix.read(subject, batch)
    return torch.stack([found[site] for site in sites])
