"""How quick is capturing, against the plain forward pass of transformers on the same batches?

Ours: every block's input at the post-instruction positions. Plain: the whole forward pass without hooks, with all
logits and with those of the last position alone, by eager attention (which the bridge uses) and by the default.
"""

from collections.abc import Callable
from typing import Any

import torch

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.machine import machine
from experiments.benchmarks.plain import plain_model
from workbench.activations import capture as capture_activations
from workbench.models import Subject, token_rows
from workbench.prompts import builtin_prompts

BATCH = 32


@benchmarks.register("capture")
def capture(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens read a second."""
    plain, prompts = plain_model(subject), builtin_prompts("harmful", "train").sample(2 * BATCH)
    batches = [batch for _, batch in subject.batches(token_rows(subject, prompts), BATCH)]

    def forward(attention: str, **options: int) -> Callable[[], None]:
        def run() -> None:
            plain.set_attn_implementation(attention)
            with torch.inference_mode():
                for batch in batches:
                    plain(batch.ids, attention_mask=batch.attention.long(), **options)

        return run

    ways: dict[str, Callable[[], object]] = {
        "capture": lambda: capture_activations(subject, prompts, batch_size=BATCH),
        "plain, eager": forward("eager"),
        "plain, eager, last logits": forward("eager", logits_to_keep=1),
        "plain, sdpa": forward("sdpa"),
        "plain, sdpa, last logits": forward("sdpa", logits_to_keep=1),
    }
    tokens = sum(int(batch.attention.sum()) for batch in batches)
    timings = interleaved(ways, rounds, units=tokens, unit="tokens")
    reached = 2 * _weights(subject) * tokens / timings[0].median / 1e9
    peak = machine(subject.dtype, subject.device)["matmul_gflops"]
    return {"timings": table(timings), "gflops": round(reached, 1), "share_of_peak": round(reached / peak, 3)}


def _weights(subject: Subject) -> int:
    """How many weights multiply every token on its way to the last block, whose input is captured last."""
    blocks = subject.bridge.original_model.get_decoder().layers[:-1]
    return sum(weight.numel() for block in blocks for weight in block.parameters() if weight.ndim > 1)
