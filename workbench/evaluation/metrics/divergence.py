"""How far the edited model's next-token distributions are from the base model's, on the base model's own words.

    KL(base || edited) at each position, over the full vocabulary, in nats

teacher-forced on the base model's greedy replies to harmless prompts. The first position, which is what most papers
report, stands apart: refusals begin there, while damage often comes later. On the same pass, the cross-entropy of the
edited model on these replies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.generation import Reply, kl_divergence
from workbench.interventions import Recipe, steered
from workbench.models import Batch, token_rows
from workbench.runs import track

_AT_ONCE = 8  # replies; their logits over a large vocabulary are gigabytes otherwise


@metrics.register("divergence")
@dataclass(frozen=True)
class Divergence(Metric):
    """KL from the base model on its own first `tokens` tokens of reply to each harmless prompt."""

    tokens: int = 64
    asked: str = "harmless"

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("first_token_kl", "mean", "lower", "nats", "KL(base || edited) at the first token of the reply", True),
        Measure("kl", "mean", "lower", "nats", "mean KL(base || edited) at the later tokens of the base's reply", True),
        Measure("own_cross_entropy", "mean", "lower", "nats", "cross-entropy a token on the base's own replies"),
    )

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        replies = ground.own_replies(self.asked, self.tokens)
        prompts = token_rows(ground.subject, [reply.prompt for reply in replies])
        rows = [[*prompt, *reply.tokens] for prompt, reply in zip(prompts, replies, strict=True)]
        found: dict[int, Item] = {}
        batches = ground.subject.batches(rows, min(ground.batch_size, _AT_ONCE))
        for group, batch in track(batches, "Divergence on the base's replies"):
            lengths = [len(replies[index].tokens) for index in group]
            items = _observed(ground, recipe, batch, lengths, [replies[index] for index in group])
            found.update(zip(group, items, strict=True))
        return [found[index] for index in range(len(rows))]


def _observed(
    ground: Ground, recipe: Recipe, whole: Batch, lengths: Sequence[int], replies: Sequence[Reply]
) -> list[Item]:
    """The items of one batch, whose rows end with their replies."""
    device = whole.prompt_lengths.device
    batch = Batch(whole.ids, whole.attention, whole.prompt_lengths - torch.tensor(lengths, device=device))
    last = max(lengths) + 1
    base = ground.subject.logits(batch, last=last)
    edited = base
    if len(recipe):
        with steered(ground.subject, recipe):
            edited = ground.subject.logits(batch, last=last)
    items = []
    for row, (n, reply) in enumerate(zip(lengths, replies, strict=True)):
        ours, theirs = base[row, last - 1 - n :], edited[row, last - 1 - n :]
        divergence = kl_divergence(ours, theirs).tolist() if len(recipe) else [0.0] * (n + 1)
        items.append(_item(reply, divergence, theirs))
    return items


def _item(reply: Reply, divergence: list[float], logits: torch.Tensor) -> Item:
    """Position 0 is what the prompt leads to; the last one, what follows the reply, counts where the reply is whole."""
    n = len(reply.tokens)
    kept = divergence if reply.finished or n == 0 else divergence[:n]
    later = kept[1:]
    entropy = None
    if n:
        spoken = torch.tensor(reply.tokens, device=logits.device)
        entropy = -float(logits[:n].double().log_softmax(-1).gather(-1, spoken[:, None]).mean())
    values = {
        "first_token_kl": kept[0],
        "kl": sum(later) / len(later) if later else None,
        "own_cross_entropy": entropy,
    }
    return Item(key=reply.prompt.digest, values=values, series={"kl": kept})
