"""Captured texts and their labels: what a bottleneck is trained and measured on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from workbench.activations import ActivationStore
from workbench.concepts.active import scale_of
from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.corpus import Corpus, capture_corpus
from workbench.concepts.labels import ConceptSet, Part
from workbench.concepts.learner import Lesson
from workbench.models import Site, Subject
from workbench.prompts import Prompts

_AT_ONCE = 256  # texts


@dataclass(frozen=True)
class Taught:
    """Captured texts and their labels; `seen` are the texts' digests, as prompts."""

    corpus: Corpus
    labels: np.ndarray  # [text concept]
    seen: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.corpus)

    def with_labels_dealt(self, seed: int = 0) -> "Taught":
        """The same texts, with each concept's labels dealt out anew among them: what says nothing cannot be read."""
        draws, labels = np.random.default_rng(seed), self.labels.copy()
        for column in labels.T:
            known = ~np.isnan(column)
            column[known] = draws.permutation(column[known])
        return replace(self, labels=labels)

    def picked(self, texts: Sequence[int]) -> "Taught":
        """Some of the texts."""
        return Taught(self.corpus.picked(texts), self.labels[list(texts)], self.seen)

    def averaged(self, of: Callable[[Tensor], Tensor]) -> Float[Tensor, "text width"]:
        """The mean over each text's tokens of something of its stream, which was divided by its scale."""
        return torch.cat([lesson.averaged(of(lesson.x)) for lesson in self.lessons(_AT_ONCE)])

    def scored(self, made: Bottleneck) -> Float[Tensor, "text known"]:
        """Each text's score for each known concept: the log-odds of its noisy-or, bounded."""
        found = []
        for lesson in self.lessons(_AT_ONCE):
            logits = lesson.x @ made.readers.T + made.reader_bias
            absent = lesson.summed(softplus(logits)).clamp(1e-6, 60.0)
            found.append(torch.log(torch.expm1(absent)))
        return torch.cat(found)

    def sampled(self, seed: int, most: int = 20_000) -> Float[Tensor, "token d_model"]:
        """Streams over their scales of some tokens."""
        rows = torch.randperm(len(self.corpus.acts), generator=torch.Generator().manual_seed(seed))[:most]
        wide = self.corpus.acts[rows].float()
        return wide / scale_of(wide)

    def lesson(self, texts: Sequence[int]) -> Lesson:
        """Some of the texts, ready to learn from."""
        picked = self.picked(texts)
        wide, labels = picked.corpus.acts.float(), torch.from_numpy(picked.labels).float()
        return Lesson(wide / scale_of(wide), picked.corpus.following, picked.corpus.text_of(), labels)

    def lessons(self, size: int) -> Iterator[Lesson]:
        for start in range(0, len(self), size):
            yield self.lesson(range(start, min(start + size, len(self))))


def taught(subject: Subject, concepts: ConceptSet, part: Part, site: Site) -> Taught:
    """The texts of a part, captured or read from the store, and their labels."""
    rows = concepts.part(part)
    seen = frozenset(prompt.digest for prompt in Prompts.of(rows.texts))
    return Taught(capture_corpus(subject, rows.texts, site, store=ActivationStore.default()), rows.labels, seen)
