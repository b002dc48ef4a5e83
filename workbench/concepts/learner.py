"""What is learned, and by which losses.

    L = concepts + reconstruction + next tokens + independence + adversary

- concepts: cross-entropy of a noisy-or over a text's tokens, 1 - prod (1 - a), with the text's labels; and of each
  token's activation with them, for a label is of the whole text. Texts without a label count a little as without it.
- reconstruction: squared error of known + discovered, as a share of the variance.
- next tokens: cross-entropy through the frozen head of known + discovered alone, on the tokens whose residual is
  dropped (with the residual it is the model's own, whatever was learned); a sampled softmax (Jean et al. 2015). Known
  activations are taught: the text's label in place of what was read, at least `floor`, with a probability that falls.
- independence: squared cosines of known with discovered vectors.
- adversary: the best linear reader of each concept from discovered + residual, averaged over a text. What a
  least-squares reader finds is the gap between the means of texts with and without the concept, in units of the spread
  there (Belrose et al. 2023: equal means are linear guardedness); the module closes the gap.

A large discovered part is factorised: its encoder and decoder are products with one basis of few rows.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, softplus

from workbench.concepts.active import Active, top_logits
from workbench.concepts.settings import ConceptSettings
from workbench.models import Head

_MULTIPLE = 64  # of what a product is of, see `_few_lengths`
_ABSENT = -4.0  # a reader's bias at the start: nearly nothing is shown


@dataclass
class Lesson:
    """Some whole texts: their streams over their scales, next tokens, the text of each token, and the labels."""

    x: Float[Tensor, "token d_model"]
    following: Int[Tensor, " token"]
    text: Int[Tensor, " token"]
    labels: Float[Tensor, "text known"]  # nan where nothing is known

    @property
    def n_texts(self) -> int:
        return len(self.labels)

    def averaged(self, values: Float[Tensor, "token width"]) -> Float[Tensor, "text width"]:
        """The mean over each text's tokens."""
        total = values.new_zeros(self.n_texts, values.shape[-1]).index_add(0, self.text, values)
        return total / self.lengths[:, None]

    def summed(self, values: Float[Tensor, "token width"]) -> Float[Tensor, "text width"]:
        """The sum over each text's tokens."""
        return values.new_zeros(self.n_texts, values.shape[-1]).index_add(0, self.text, values)

    @property
    def lengths(self) -> Float[Tensor, " text"]:
        return torch.bincount(self.text, minlength=self.n_texts).clamp_min(1).float()


class Learner(nn.Module):
    """The parameters of a bottleneck on their way."""

    def __init__(self, settings: ConceptSettings, n_known: int, x: Float[Tensor, "token d_model"]) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(settings.seed)
        width, m = x.shape[-1], settings.discovered
        self.settings = settings
        self.centre, self.spread = x.mean(dim=0), x.std(dim=0).clamp_min(1e-4)
        self.variance = float((x - self.centre).square().sum(dim=-1).mean())
        self.readers = nn.Parameter(torch.zeros(n_known, width))  # of standardised streams
        self.reader_bias = nn.Parameter(torch.full((n_known,), _ABSENT))
        self.vectors = nn.Parameter(torch.zeros(n_known, width))
        picked = x[torch.randint(len(x), (m,), generator=draws)] - self.centre
        rank = settings.rank if m > settings.factorised_above else None
        self.basis = None if rank is None else nn.Parameter(_principal(x - self.centre, rank))
        coded = normalize(picked, dim=-1) if self.basis is None else normalize(picked @ self.basis.T, dim=-1)
        self.decoder = nn.Parameter(coded.clone())
        self.encoder = nn.Parameter(coded.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(m))

    def logits(self, x: Float[Tensor, "token d_model"]) -> Float[Tensor, "token known"]:
        return (x - self.centre) / self.spread @ self.readers.T + self.reader_bias

    def discovered(self, x: Float[Tensor, "token d_model"]) -> tuple[Float[Tensor, "token d_model"], Active]:
        """What the discovered concepts write, without the constant."""
        off = x - self.centre
        coded = off if self.basis is None else off @ self.basis.T
        top = top_logits(coded, self.encoder, self.encoder_bias, self.settings.k_discovered)
        active = Active(top.values.relu(), top.concepts)
        written = active.written(self.decoder)
        return (written if self.basis is None else written @ self.basis), active

    def plain_decoder(self) -> Float[Tensor, "discovered d_model"]:
        """The discovered vectors in the stream's own coordinates."""
        return self.decoder if self.basis is None else self.decoder @ self.basis

    def plain_encoder(self) -> Float[Tensor, "discovered d_model"]:
        return self.encoder if self.basis is None else self.encoder @ self.basis


@dataclass
class Losses:
    """The losses of a lesson, by name."""

    learner: Learner
    head: Head | None
    draws: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def draw_from(self, seed: int, epoch: int) -> None:
        """Draw what an epoch of this seed draws, whatever was drawn before."""
        self.draws.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))

    def __call__(self, lesson: Lesson, taught: float) -> dict[str, Tensor]:
        """Every loss, weighted; `taught` is the probability that a text's known activations are its labels'."""
        how = self.learner.settings
        logits = self.learner.logits(lesson.x)
        active = _gated(logits.sigmoid(), how.k_known)
        discovered, _ = self.learner.discovered(lesson.x)
        known = self._taught(active, lesson, taught) @ self.learner.vectors
        plain = active @ self.learner.vectors
        found = {
            "concepts": how.weights.concepts * concept_loss(logits, lesson, how.unlabelled, how.per_token),
            "reconstruction": how.weights.reconstruction
            * (lesson.x - self.learner.centre - plain - discovered).square().sum(dim=-1).mean()
            / self.learner.variance,
            "independence": how.weights.independence * self._independence(),
        }
        if how.weights.adversary:
            found["adversary"] = how.weights.adversary * gap_left(lesson, lesson.x - plain)
        if self.head is not None and how.weights.next_token:
            found["next token"] = how.weights.next_token * self._next_token(lesson, known + discovered)
        return found

    def _taught(self, active: Tensor, lesson: Lesson, taught: float) -> Float[Tensor, "token known"]:
        """Activations as the labels say where they are known, for a share of the texts."""
        floor = self.learner.settings.floor
        chosen = torch.rand(lesson.n_texts, 1, generator=self.draws) < taught
        labels = torch.where(chosen, lesson.labels, torch.nan)[lesson.text]
        return torch.where(
            labels == 1, active.clamp_min(floor), torch.where(labels == 0, torch.zeros_like(active), active)
        )

    def _independence(self) -> Tensor:
        known, discovered = (normalize(each, dim=-1) for each in (self.learner.vectors, self.learner.plain_decoder()))
        return (known @ discovered.T).square().sum(dim=1).mean()

    def _next_token(self, lesson: Lesson, written: Float[Tensor, "token d_model"]) -> Tensor:
        """Sampled softmax on the tokens whose residual is dropped; the targets are always among the candidates."""
        assert self.head is not None
        how = self.learner.settings
        dropped = torch.rand(len(lesson.x), generator=self.draws) < how.residual_dropout
        rows = _few_lengths((dropped & (lesson.following >= 0)).nonzero()[:, 0])
        if not len(rows):
            return written.sum() * 0
        targets, places = lesson.following[rows].unique(return_inverse=True)
        vocabulary = len(self.head.unembedding)
        drawn = torch.randint(vocabulary, (min(how.candidates, vocabulary),), generator=self.draws)
        others = _few_lengths(drawn[~torch.isin(drawn, targets)], len(targets))
        logits = self.head.logits(written[rows] + self.learner.centre, torch.cat([targets, others]))
        # Each candidate that was drawn stands for many that were not.
        scale = torch.log(torch.tensor((vocabulary - len(targets)) / max(1, len(others))))
        weight = torch.cat([torch.zeros(len(targets)), scale.expand(len(others))])
        return cross_entropy(logits + weight, places)


def _few_lengths(rows: Int[Tensor, " n"], more: int = 0) -> Int[Tensor, " fewer"]:
    """Without the last few, so that with `more` they are a multiple.

    A product in bfloat16 is compiled for its shape and kept, a thousand of them: that took a gigabyte.
    """
    over = (len(rows) + more) % _MULTIPLE
    return rows[: len(rows) - over] if over < len(rows) else rows


def _gated(active: Float[Tensor, "token known"], k: int) -> Float[Tensor, "token known"]:
    """The k largest of each token, and 0 for the others."""
    if k >= active.shape[-1]:
        return active
    return active * (active >= active.topk(k, dim=-1).values[:, -1:])


def concept_loss(logits: Float[Tensor, "token known"], lesson: Lesson, unlabelled: float, per_token: float) -> Tensor:
    """Cross-entropy of the noisy-or over each text, and to a part of each token."""
    known = ~lesson.labels.isnan()
    weight = torch.where(known, 1.0, unlabelled)
    truth = lesson.labels.nan_to_num(0.0)
    # log prod (1 - a) = - sum softplus(l)
    absent = lesson.summed(softplus(logits)).clamp_min(1e-6)
    text = truth * -torch.log(-torch.expm1(-absent)) + (1 - truth) * absent
    here = truth[lesson.text]
    token = lesson.averaged(softplus(logits) - here * logits)
    total = (weight * (text / lesson.lengths.clamp_max(20)[:, None].sqrt() + per_token * token)).sum(dim=0)
    return (total / weight.sum(dim=0).clamp_min(1e-6)).mean()


def gap_left(lesson: Lesson, rest: Float[Tensor, "token d_model"]) -> Tensor:
    """What a linear reader finds of each concept: the squared gap of class means over the spread, averaged."""
    means = lesson.averaged(rest)
    spread = means.detach().std(dim=0).clamp_min(1e-4)
    scaled = means / spread
    shown, other = (lesson.labels == value for value in (1, 0))
    enough = (shown.sum(dim=0) > 0) & (other.sum(dim=0) > 0)
    if not bool(enough.any()):
        return rest.sum() * 0
    mean_of = [
        einsum(side.float(), scaled, "text known, text d_model -> known d_model")
        / side.sum(dim=0).clamp_min(1)[:, None]
        for side in (shown, other)
    ]
    return (mean_of[0] - mean_of[1])[enough].square().mean()


def _principal(x: Float[Tensor, "token d_model"], rank: int) -> Float[Tensor, "rank d_model"]:
    """The directions of largest variance."""
    covariance = x.T @ x / len(x)
    return torch.linalg.eigh(covariance).eigenvectors[:, -rank:].T.contiguous()
