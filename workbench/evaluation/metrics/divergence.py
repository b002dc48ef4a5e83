"""KL(base || edited) of the next-token distribution after the prompt, over the full vocabulary, in float64."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.interventions import Recipe, steered
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts
from workbench.runs import track


def kl_divergence(
    base: Float[Tensor, "batch vocab"], edited: Float[Tensor, "batch vocab"]
) -> Float64[Tensor, " batch"]:
    """KL(softmax(base) || softmax(edited)) of each row, in nats; rounding never makes it negative."""
    log_base = torch.log_softmax(base.double(), dim=-1)
    log_edited = torch.log_softmax(edited.double(), dim=-1)
    return (log_base.exp() * (log_base - log_edited)).sum(dim=-1).clamp_min(0.0)


def first_token_kl(subject: Subject, prompts: Prompts, recipe: Recipe, batch_size: int = 32) -> list[float]:
    """The divergence that `recipe` causes at the first token of the reply, for each prompt."""
    if not len(recipe):
        return [0.0] * len(prompts)
    found = [0.0] * len(prompts)
    for group, batch in track(subject.batches(token_rows(subject, prompts), batch_size), "Measuring divergence"):
        base = subject.logits(batch, last=1)[:, -1]
        with steered(subject, recipe):
            edited = subject.logits(batch, last=1)[:, -1]
        for index, value in zip(group, kl_divergence(base, edited).tolist(), strict=True):
            found[index] = value
    return found
