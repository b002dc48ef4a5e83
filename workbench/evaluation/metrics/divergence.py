"""KL(base || edited) of the next-token distribution after the prompt, over the full vocabulary, in float64."""

from workbench.generation import kl_divergence
from workbench.interventions import Recipe, steered
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts
from workbench.runs import track


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
