"""Texts as the stream sees them, token by token: captured once, then trained on from the store.

Each text is read by itself, without a template. Its first token is left out: its activation is massive and the same in
every text (Sun et al. 2024). Long texts are cut, so that a label, which is of a whole text, is of at most 128 tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.activations import ActivationStore, read_streams
from workbench.errors import ConceptError
from workbench.models import Site, Subject
from workbench.models.chat import encode
from workbench.runs import digest_json, track

LONGEST = 128
_VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """Activations of all tokens of all texts, one after the other; text i has rows starts[i] to starts[i + 1]."""

    acts: Float[Tensor, "token d_model"]
    ids: Int[Tensor, " token"]  # the token at each row
    following: Int[Tensor, " token"]  # the token after it, -1 at a text's end
    starts: tuple[int, ...]
    site: Site

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, text: int) -> slice:
        return slice(self.starts[text], self.starts[text + 1])

    def picked(self, texts: Sequence[int]) -> "Corpus":
        """Some of the texts."""
        index = torch.cat([torch.arange(self.starts[i], self.starts[i + 1]) for i in texts])
        lengths = [self.starts[i + 1] - self.starts[i] for i in texts]
        starts = (0, *np.cumsum(lengths).tolist())
        return Corpus(self.acts[index], self.ids[index], self.following[index], starts, self.site)

    def text_of(self) -> Int[Tensor, " token"]:
        """The number of each token's text."""
        lengths = torch.tensor([end - start for start, end in pairwise(self.starts)])
        return torch.repeat_interleave(torch.arange(len(self)), lengths)


def capture_corpus(
    subject: Subject, texts: Sequence[str], site: Site, *, store: ActivationStore | None = None, batch_size: int = 64
) -> Corpus:
    """Capture every token but the first of every text at `site`.

    Raises ConceptError where there are too few texts, or one has no second token.
    """
    if len(texts) < 2:
        raise ConceptError(f"The corpus has {len(texts)} text; a bottleneck needs many, each on its own.")
    subject.check_site(site)
    rows = [encode(subject, text)[:LONGEST] for text in texts]
    if short := [text for text, row in zip(texts, rows, strict=True) if len(row) < 2]:
        raise ConceptError(f"The text {short[0]!r} has fewer than two tokens; give longer ones.")
    found: dict[int, Tensor] = {}
    for numbers, values in _batches(subject, rows, site, store, batch_size):
        found |= {i: values[row, : len(rows[i]) - 1] for row, i in enumerate(numbers)}
    acts = torch.cat([found[i] for i in range(len(rows))])
    ids = torch.tensor([token for row in rows for token in row[1:]])
    following = torch.tensor([token for row in rows for token in (*row[2:], -1)])
    return Corpus(acts, ids, following, (0, *np.cumsum([len(row) - 1 for row in rows]).tolist()), site)


def _batches(
    subject: Subject, rows: list[list[int]], site: Site, store: ActivationStore | None, size: int
) -> Iterator[tuple[list[int], Float[Tensor, "row pos d_model"]]]:
    """The stream after each text's first token; padded on the right."""
    keep = None if subject.bridge.list_hooks() else store  # a key knows nothing of an edit that is on the model
    for numbers, batch in track(subject.batches(rows, size), "Reading texts"):
        key = digest_json(["concepts", _VERSION, subject.identity, str(site), [rows[i] for i in numbers]])
        if keep is None or not keep.has(key):
            values = read_streams(subject, batch, [site], lambda acts: acts.detach().cpu())[site]
            lengths = [len(rows[i]) for i in numbers]
            whole = torch.zeros(len(numbers), max(lengths) - 1, values.shape[-1], dtype=values.dtype)
            for row, length in enumerate(lengths):
                whole[row, : length - 1] = values[row, values.shape[1] - length + 1 :]
            if keep is None:
                yield list(numbers), whole
                continue
            keep.put(key, whole[:, :, None])
        yield list(numbers), keep.read(key, site=0)
