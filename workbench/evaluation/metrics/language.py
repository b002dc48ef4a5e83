"""Cross-entropy on neutral English texts that come with the workbench: how much of its language an edit cost a model.

    -(1 / (n - 1)) * sum over t = 2..n of log p(x_t | x_<t)        (nats a token)

The first token is not counted, as nothing stands before it. To a recipe it is the prompt and the rest is the reply, so
that edits of generated tokens act here too. A text that is longer than the context is read as far as it fits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import torch

from workbench.evaluation.continuations import token_logprobs
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.interventions import Recipe, steered
from workbench.models import Batch
from workbench.runs import digest_json, track

_AT_ONCE = 4  # texts; their logits over a large vocabulary are gigabytes otherwise


@metrics.register("language")
@dataclass(frozen=True)
class Language(Metric):
    """Cross-entropy on the built-in texts."""

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("cross_entropy", "mean", "lower", "nats", "cross-entropy a token on neutral English texts"),
    )

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"data": digest_json(texts())[:16]}

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        subject = ground.subject
        rows = [subject.tokenizer.encode(text)[: subject.context_length] for text in texts()]
        found = [0.0] * len(rows)
        with steered(subject, recipe):
            for group, batch in track(subject.batches(rows, min(ground.batch_size, _AT_ONCE)), "Reading texts"):
                logits = subject.logits(Batch(batch.ids, batch.attention, torch.ones_like(batch.prompt_lengths)))
                for index, row in zip(group, logits, strict=True):
                    told = token_logprobs(row[len(row) - len(rows[index]) : -1], rows[index][1:])
                    found[index] = -sum(told) / len(told)
        keys = [digest_json(text)[:16] for text in texts()]
        return [Item(key=key, values={"cross_entropy": value}) for key, value in zip(keys, found, strict=True)]


@cache
def texts() -> tuple[str, ...]:
    """The built-in texts."""
    whole = files("workbench.evaluation").joinpath("data", "texts.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line)["text"] for line in whole.splitlines() if line.strip())
