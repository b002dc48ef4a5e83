"""How quick is capturing, against the plain forward pass of transformers on the same batches?

Ours: every block's input at the post-instruction positions. Plain: the whole forward pass without hooks, with
all logits and with those of the last position alone, by eager attention (which the bridge uses) and by the
default (sdpa). Each round runs them one after the other; medians of the rounds are compared.

    python -m experiments.benchmarks.capture_throughput [MODEL] [ROUNDS]
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workbench.activations import capture
from workbench.models import Subject, open_model, token_rows
from workbench.models.catalog import DEFAULT_MODEL
from workbench.models.sources import resolve
from workbench.prompts import builtin_prompts

BATCH = 32


def main(model: str = DEFAULT_MODEL, rounds: str = "5") -> None:
    """Print medians, ratios and spread as JSON."""
    subject = open_model(model)
    plain = _plain(subject, model)
    prompts = builtin_prompts("harmful", "train").sample(2 * BATCH)
    rows = sorted(token_rows(subject, prompts), key=len)
    batches = [subject.batch(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]

    def forward(attention: str, **options: int) -> None:
        plain.set_attn_implementation(attention)
        with torch.inference_mode():
            for batch in batches:
                plain(batch.ids, attention_mask=batch.attention.long(), **options)

    ways: dict[str, Callable[[], object]] = {
        "capture": lambda: capture(subject, prompts, batch_size=BATCH),
        "plain, eager": lambda: forward("eager"),
        "plain, eager, last logits": lambda: forward("eager", logits_to_keep=1),
        "plain, sdpa": lambda: forward("sdpa"),
        "plain, sdpa, last logits": lambda: forward("sdpa", logits_to_keep=1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(int(rounds) + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    sys.stdout.write(json.dumps(_table(seconds, sum(map(len, rows))), indent=2) + "\n")


def _plain(subject: Subject, model: str) -> Any:
    dtype = str(subject.dtype).removeprefix("torch.")
    return AutoModelForCausalLM.from_pretrained(resolve(model, dtype).folder, dtype=subject.dtype).eval()


def _table(seconds: dict[str, list[float]], tokens: int) -> dict[str, dict[str, float]]:
    counted = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    ours = median(counted["capture"])
    return {
        name: {
            "median_s": round(median(values), 3),
            "min_s": round(min(values), 3),
            "max_s": round(max(values), 3),
            "tokens_per_s": round(tokens / median(values)),
            "capture_throughput_against_it": round(median(values) / ours, 3),
        }
        for name, values in counted.items()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
