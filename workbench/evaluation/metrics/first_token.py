"""KL(base || edited) of the next-token distribution after the prompt alone: what most papers report, and quick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.generation import kl_divergence
from workbench.interventions import Recipe, steered
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts
from workbench.runs import track


@metrics.register("first-token")
@dataclass(frozen=True)
class FirstToken(Metric):
    """The divergence at the first token of the reply to each harmless prompt."""

    asked: str = "harmless"

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("first_token_kl", "mean", "lower", "nats", "KL(base || edited) at the first token of the reply", True),
    )

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        prompts = ground.sets[self.asked]
        found = first_token_kl(ground.subject, prompts, recipe, ground.batch_size)
        return [Item(key=p.digest, values={"first_token_kl": kl}) for p, kl in zip(prompts, found, strict=True)]


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
