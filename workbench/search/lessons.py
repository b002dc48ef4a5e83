"""What a direction is optimised on: prompts with answers, and how far the model is from giving them.

    loss(d) =       CE(answers to harmful requests | d ablated)
            + 0.2 * CE(refusals of harmless requests | d added)
            +       KL(base || d ablated) over answers to harmless requests

Means over the tokens of the answers (Wollschlaeger et al. 2025, arXiv:2502.17420). The model writes the answers itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, normalize

from workbench.directions import Direction
from workbench.errors import SearchError
from workbench.generation import generate
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Batch, Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts

ABLATED, ADDED, RETAINED = 1.0, 0.2, 1.0  # weights of the three terms, the paper's
NEW_TOKENS = 12  # of an answer
LEAST = 4  # answers of a kind
_IGNORED = -100


@dataclass(frozen=True)
class Answered:
    """A prompt and an answer to it, in tokens."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Lessons:
    """What the model shall say under the direction ablated, under it added, and what it says by itself."""

    ablated: Sequence[Answered]
    added: Sequence[Answered]
    unedited: Sequence[Answered]

    @classmethod
    def written(cls, subject: Subject, train: ContrastPairs, start: Direction, batch_size: int) -> "Lessons":
        """By the model itself, under the direction to start from."""
        harmful, harmless = train.positive, train.negative
        return cls(
            _answered(subject, harmful, Ablate(start).at("all"), batch_size),
            _answered(subject, harmless, Add(start).at(start.site), batch_size),
            _answered(subject, harmless, Recipe(), batch_size),
        )

    def split(self, share: float) -> tuple["Lessons", "Lessons"]:
        """The lessons that are learned, and the share of them that is kept apart."""
        learned, apart = zip(*(_cut(kind, share) for kind in self._kinds), strict=True)
        return Lessons(*learned), Lessons(*apart)

    def drawn(self, n: int, seed: int, step: int) -> "Lessons":
        """`n` of each kind, for one step."""
        generator = np.random.default_rng([seed, step])
        return Lessons(*([kind[i] for i in generator.permutation(len(kind))[:n]] for kind in self._kinds))

    def loss(self, subject: Subject, start: Direction, vector: Tensor, batch: int) -> float:
        """The loss of `vector` on all lessons."""
        with torch.no_grad():
            return sum(float(term) for term in self._terms(subject, start, normalize(vector, dim=0), batch))

    def slope(
        self, subject: Subject, start: Direction, vector: Tensor, batch: int
    ) -> tuple[float, Float[Tensor, " d_model"]]:
        """The loss and its gradient along the sphere; each term's graph is let go before the next one is built."""
        unit = normalize(vector.detach(), dim=0).requires_grad_()
        loss, gradient = 0.0, torch.zeros_like(unit)
        for term in self._terms(subject, start, unit, batch):
            gradient += torch.autograd.grad(term, unit)[0]
            loss += float(term.detach())
        return loss, gradient - (gradient @ unit.detach()) * unit.detach()

    @property
    def _kinds(self) -> tuple[Sequence[Answered], ...]:
        return self.ablated, self.added, self.unedited

    def _terms(self, subject: Subject, start: Direction, unit: Tensor, batch: int) -> Iterator[Tensor]:
        """The weighted terms, some prompts at a time; they sum to the loss."""
        direction = replace(start, unit=unit)
        ablated, added = Ablate(direction).at("all"), Add(direction).at(start.site)
        for weight, kind, recipe in ((ABLATED, self.ablated, ablated), (ADDED, self.added, added)):
            for part, share in _parts(kind, batch):
                logits, labels = _answering(subject, part, recipe)
                yield weight * share * cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED)
        for part, share in _parts(self.unedited, batch):
            with torch.no_grad():
                base, labels = _answering(subject, part, Recipe())
            base = base.clone()  # what inference mode made, autograd does not save
            edited, _ = _answering(subject, part, ablated)
            each = kl_div(edited.log_softmax(-1), base.log_softmax(-1), reduction="none", log_target=True).sum(-1)
            yield RETAINED * share * each[labels != _IGNORED].mean()


def _answered(subject: Subject, prompts: Prompts, recipe: Recipe, batch_size: int) -> list[Answered]:
    said = generate(subject, prompts, recipe, max_new_tokens=NEW_TOKENS, batch_size=batch_size)
    rows = token_rows(subject, prompts)
    found = [Answered(row, list(reply.tokens)) for row, reply in zip(rows, said, strict=True) if reply.tokens]
    if len(found) < LEAST:
        raise SearchError(
            f"{subject.name} has an answer to only {len(found)} of {len(prompts)} prompts, so there is nothing to "
            "optimise a direction on; use another --method."
        )
    return found


def _cut(kind: Sequence[Answered], share: float) -> tuple[Sequence[Answered], Sequence[Answered]]:
    cut = max(1, round(share * len(kind)))
    return kind[cut:], kind[:cut]


def _parts(kind: Sequence[Answered], batch: int) -> Iterator[tuple[Sequence[Answered], float]]:
    """Batches of lessons, each with its share of all tokens."""
    total = sum(len(each.answer) for each in kind)
    for start in range(0, len(kind), batch):
        part = kind[start : start + batch]
        yield part, sum(len(each.answer) for each in part) / total


def _answering(
    subject: Subject, lessons: Sequence[Answered], recipe: Recipe
) -> tuple[Float[Tensor, "batch pos vocab"], Int[Tensor, "batch pos"]]:
    """The logits that predict each token of the answers, and these tokens; rows are padded on the left."""
    rows = [each.prompt + each.answer for each in lessons]
    batch = Batch.from_rows(rows, subject.pad_token, subject.device)
    longest = max(len(each.answer) for each in lessons)
    labels = batch.ids[:, -longest:].clone()
    for row, each in enumerate(lessons):
        labels[row, : longest - len(each.answer)] = _IGNORED
    with steered(subject, recipe):
        logits = subject.logits(batch, last=longest + 1, gradients=torch.is_grad_enabled())
    return logits[:, :-1].float(), labels
