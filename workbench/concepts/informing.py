"""Which training texts informed a concept's contribution.

By gradients (Pruthi et al. 2020): the reader's row of a concept is what its labels teach. A step on text i moves that
contribution by

    - < grad contribution, grad loss_i >        both with respect to the row, in the coordinates it was trained in

so that a positive score says that the text made the contribution larger. By activations: how alike the text and the
output are in what the bottleneck reads, the cosine of their mean activations.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, softplus

from workbench.concepts.bottleneck import Bottleneck, scale_of
from workbench.concepts.training import Taught


@dataclass(frozen=True)
class Informed:
    """A score for each training text."""

    concept: str
    by_gradient: Float[Tensor, " text"]
    by_activation: Float[Tensor, " text"]

    def top(self, n: int) -> list[int]:
        """The texts that informed it most, by gradient."""
        return self.by_gradient.topk(min(n, len(self.by_gradient))).indices.tolist()


def informed_by(
    made: Bottleneck, train: Taught, acts: Float[Tensor, "token d_model"], weights: Float[Tensor, "token d_model"],
    concept: str,
) -> Informed:  # fmt: skip
    """What of `train` informed the part that `concept` has in some tokens' logits.

    `acts` are the streams of the tokens, `weights` what each token's logit reads of them.
    """
    column = made.index(concept)
    x = acts.float() / scale_of(acts.float())
    spread = _spread(train)
    active = (x @ made.readers[column] + made.reader_bias[column]).sigmoid()
    along = weights @ made.vectors[column] * scale_of(acts.float())[:, 0]
    wanted = ((active * (1 - active) * along)[:, None] * x / spread).sum(dim=0)
    query = (x @ made.readers.T + made.reader_bias).sigmoid().mean(dim=0)
    gradients, alike = [], []
    for lesson in train.lessons(256):
        logits = lesson.x @ made.readers.T + made.reader_bias
        slope = _slope(logits[:, column], lesson.labels[:, column], lesson.text, lesson.n_texts)
        gradients.append(-lesson.summed((slope * (lesson.x / spread @ wanted))[:, None])[:, 0])
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


def _spread(train: Taught) -> Float[Tensor, " d_model"]:
    wide = train.corpus.acts[:20_000].float()
    return (wide / scale_of(wide)).std(dim=0).clamp_min(1e-4)
