"""Which training texts informed a concept's contribution.

By gradients (Pruthi et al. 2020): the reader's row of a concept is what its labels teach. A step on text i moves that
contribution by

    - < grad contribution, grad loss_i >        both with respect to the row, in the coordinates it was trained in

so that a positive score says that the text made the contribution larger. By activations: how alike the text and the
output are in what the bottleneck reads, the cosine of their mean activations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, softplus

from workbench.concepts.active import scale_of
from workbench.concepts.attribution import head_of
from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.labels import ConceptSet
from workbench.concepts.taught import Taught, taught
from workbench.errors import ConceptError
from workbench.generation import generate
from workbench.models import Head, Subject, token_rows
from workbench.prompts import Prompts


@dataclass(frozen=True)
class Informed:
    """A score for each training text."""

    concept: str
    by_gradient: Float[Tensor, " text"]
    by_activation: Float[Tensor, " text"]

    def top(self, n: int) -> list[int]:
        """The texts that informed it most, by gradient."""
        return self.by_gradient.topk(min(n, len(self.by_gradient))).indices.tolist()

    def to_json(self, texts: Sequence[str], n: int, others: int = 200) -> dict[str, Any]:
        """The texts that informed it most, and the scores of `others` drawn at random, which they stand out from."""
        scores = torch.stack([self.by_gradient, self.by_activation], dim=1)
        top, drawn = self.top(n), torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))[:others]
        rows = [{"text": texts[i], "gradient": each[0], "activation": each[1]} for i, each in _rows(scores, top)]
        rest = [each for i, each in _rows(scores, drawn.tolist()) if i not in top]
        return {"concept": self.concept, "n": len(scores), "texts": rows, "others": rest}


def _rows(scores: Tensor, places: Sequence[int]) -> list[tuple[int, list[float]]]:
    return list(zip(places, scores[list(places)].tolist(), strict=True))


def informed_replies(
    subject: Subject, made: Bottleneck, concepts: ConceptSet, prompts: Prompts, concept: str, max_new_tokens: int = 32
) -> tuple[Informed, tuple[str, ...]]:
    """The same for the model's replies to some prompts: the scores, and the training texts that they are of.

    Raises ConceptError where the bottleneck does not know the concept, is not at the
    last site, or where the model says nothing.
    """
    made.check_fits(subject)
    made.index(concept)
    head = head_of(subject, made)
    if head is None:
        raise ConceptError(
            f"What a concept adds to logits at {made.site} is no sum; train a bottleneck at the last site."
        )
    train = taught(subject, concepts, "train", made.site)
    acts, weights = zip(*_said(subject, made, head, prompts, max_new_tokens), strict=True)
    found = informed_by(made, train, torch.cat(acts), torch.cat(weights), concept)
    return found, concepts.part("train").texts


def _said(subject: Subject, made: Bottleneck, head: Head, prompts: Prompts, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The stream at each token of a reply, and what its logit reads of it."""
    kept: list[Tensor] = []
    for before, reply in zip(token_rows(subject, prompts), generate(subject, prompts, max_new_tokens=n), strict=True):
        if not reply.tokens:
            raise ConceptError(f"The model says nothing to {reply.prompt.text[:40]!r}; ask something else.")
        row = [*before, *reply.tokens[:-1]]
        with subject.hooked([(made.site, lambda acts, hook: kept.append(acts[0].detach()))]):
            subject.logits(subject.batch([row]), last=1)
        acts = kept.pop()[len(before) - 1 :].float()
        rows = head.rows(torch.tensor(reply.tokens)).float() - head.mean_row
        yield acts, head.direct_rows(rows) / head.scale(acts)


def informed_by(
    made: Bottleneck, train: Taught, acts: Float[Tensor, "token d_model"], weights: Float[Tensor, "token d_model"],
    concept: str,
) -> Informed:  # fmt: skip
    """What of `train` informed the part that `concept` has in some tokens' logits.

    `acts` are the streams of the tokens, `weights` what each token's logit reads of them.
    """
    column = made.index(concept)
    x = acts.float() / scale_of(acts.float())
    spread = train.sampled(0).std(dim=0).clamp_min(1e-4)
    active = (x @ made.readers[column] + made.reader_bias[column]).sigmoid()
    along = weights @ made.vectors[column] * scale_of(acts.float())[:, 0]
    wanted = ((active * (1 - active) * along)[:, None] * (x - made.centre) / spread).sum(dim=0)
    query = (x @ made.readers.T + made.reader_bias).sigmoid().mean(dim=0)
    gradients, alike = [], []
    for lesson in train.lessons(256):
        logits = lesson.x @ made.readers.T + made.reader_bias
        slope = _slope(logits[:, column], lesson.labels[:, column], lesson.text, lesson.n_texts)
        gradients.append(-lesson.summed((slope * ((lesson.x - made.centre) / spread @ wanted))[:, None])[:, 0])
        alike.append(normalize(lesson.averaged(logits.sigmoid()), dim=-1) @ normalize(query, dim=-1))
    return Informed(concept, torch.cat(gradients), torch.cat(alike))


def _slope(
    logits: Float[Tensor, " token"], labels: Float[Tensor, " text"], text: Tensor, n: int
) -> Float[Tensor, " token"]:
    """The gradient of a text's noisy-or cross-entropy with respect to each token's logit; 0 where it has no label."""
    absent = torch.zeros(n).index_add(0, text, softplus(logits)).clamp(1e-6, 60.0)
    shown = -1 / torch.expm1(absent)  # of -log(1 - exp(-S)) with respect to S
    per_text = torch.where(labels == 1, shown, torch.where(labels == 0, torch.ones(n), torch.zeros(n)))
    return per_text[text] * logits.sigmoid()
