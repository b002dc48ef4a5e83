"""What the dials are learned from and chosen on, and how a set of dials is measured.

refusal   the refusal metric of harmful prompts, at the prompt's end
damage    KL(base || edited) of the next-token distribution after harmless prompts
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.activations import capture_moments
from workbench.evaluation.refusal import refusal_metric, refusal_tokens
from workbench.generation import kl_divergence
from workbench.interventions import Recipe, steered
from workbench.models import Site, Subject, token_rows
from workbench.prompts import ContrastPairs
from workbench.runs import track
from workbench.studies.minimise.dials import Start
from workbench.studies.minimise.settings import MinimiseSettings

Rows = Sequence[list[int]]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Prompts in tokens, and what the unedited model says after the harmless ones (in the model's own dtype)."""

    subject: Subject
    tokens: tuple[int, ...]  # the first tokens of refusals
    harmful: Rows
    harmless: Rows
    base: Float[Tensor, "harmless vocab"]

    @classmethod
    def prepare(cls, subject: Subject, tokens: tuple[int, ...], pairs: ContrastPairs, batch_size: int) -> "Lessons":
        harmful, harmless = (token_rows(subject, side) for side in (pairs.positive, pairs.negative))
        return cls(subject, tokens, harmful, harmless, last_logits(subject, harmless, batch_size))

    def measure(self, recipe: Recipe, batch_size: int) -> tuple[list[float], list[float]]:
        """The refusal metric of each harmful prompt and the KL of each harmless one, under a recipe."""
        with steered(self.subject, recipe):
            harmful = last_logits(self.subject, self.harmful, batch_size)
            harmless = last_logits(self.subject, self.harmless, batch_size)
        return refusal_metric(harmful, self.tokens).tolist(), self.damage(range(len(self.harmless)), harmless).tolist()

    def damage(self, chosen: Sequence[int], edited: Float[Tensor, "n vocab"]) -> Float64[Tensor, " n"]:
        """KL from the unedited model after some of the harmless prompts, by their numbers."""
        parts = [kl_divergence(self.base[i][None], row[None]) for i, row in zip(chosen, edited, strict=True)]
        return torch.cat(parts)


def last_logits(subject: Subject, rows: Rows, batch_size: int) -> Float[Tensor, "row vocab"]:
    """Logits after each prompt, in the prompts' order and the model's own dtype."""
    found: dict[int, Tensor] = {}
    groups, batches = zip(*subject.batches(rows, batch_size), strict=True)
    for group, part in zip(groups, subject.last_logits(batches), strict=True):
        found.update(zip(group, part.clone(), strict=True))
    return torch.stack([found[index] for index in range(len(rows))])


def prepare(
    subject: Subject, train: ContrastPairs, validation: ContrastPairs, settings: MinimiseSettings
) -> tuple[Start, Lessons, Lessons]:
    """Where to start from, what is learned from, and what the result is chosen on."""
    tokens = refusal_tokens(subject, train.positive, batch_size=settings.batch_size).ids
    sites = [Site(layer, "resid_post") for layer in range(subject.n_layers)]
    means = [
        capture_moments(subject, side, sites=sites, positions=[-1], batch_size=settings.batch_size).mean
        for side in track((train.positive, train.negative), "Reading the directions to start from")
    ]
    harmful, harmless = (mean.flatten(0, -2).float() for mean in means)
    seen = {
        prompt.digest for pairs in (train, validation) for side in (pairs.positive, pairs.negative) for prompt in side
    }
    sets = [
        Lessons.prepare(subject, tokens, pairs, settings.batch_size)
        for pairs in track((train, validation), "Reading what the unedited model says")
    ]
    return Start(harmful, harmless, frozenset(seen)), sets[0], sets[1]
