"""What does it cost to read sixty concepts at every token while the model talks?"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, asked
from workbench.concepts import Bottleneck, ConceptHandle
from workbench.concepts.training import last_site
from workbench.generation import stream
from workbench.models import Subject

KNOWN, ACTIVE, DISCOVERED = 60, 16, 1024
BATCHES = (1, 16)


@benchmarks.register("concepts")
def concepts(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens streamed a second with all known concepts of a bottleneck at the last site watched, and without."""
    made = random_bottleneck(subject)
    watch = {name: made.concept(name) for name in made.names}
    timings = {}
    for size in BATCHES:
        ways = {"concepts read": _streamed(subject, size, watch), "not read": _streamed(subject, size, {})}
        timings[f"batch {size}"] = table(interleaved(ways, rounds, units=size * NEW_TOKENS, unit="tokens"))
    return {"timings": timings}


def _streamed(subject: Subject, n: int, watch: Mapping[str, ConceptHandle]) -> Callable[[], object]:
    def run() -> None:
        with stream(subject, asked(n), max_new_tokens=NEW_TOKENS, watch=watch) as tokens:
            if len(list(tokens)) != n * NEW_TOKENS:
                raise RuntimeError("A reply ended before it was measured.")

    return run


def random_bottleneck(subject: Subject, seed: int = 0) -> Bottleneck:
    """One that means nothing: what reading costs does not depend on what is read."""
    draws, width = torch.Generator().manual_seed(seed), subject.d_model

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws) / width**0.5

    return Bottleneck(
        readers=drawn(KNOWN, width), reader_bias=drawn(KNOWN), vectors=drawn(KNOWN, width),
        encoder=drawn(DISCOVERED, width), encoder_bias=drawn(DISCOVERED), decoder=drawn(DISCOVERED, width),
        centre=drawn(width), typical=torch.ones(KNOWN), level=torch.zeros(KNOWN), calibration=torch.ones(KNOWN, 2),
        names=tuple(f"concept {number}" for number in range(KNOWN)), k_known=ACTIVE, k_discovered=64,
        site=last_site(subject), model_name=subject.name, model_digest=subject.digest,
    )  # fmt: skip
