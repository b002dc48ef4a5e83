"""What does a full ablation (three places in every layer) cost while the model talks, at batch 1 and at batch 16?"""

from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, ours, random_direction, theirs
from workbench.interventions import Ablate
from workbench.models import Subject

BATCHES = (1, 16)


@benchmarks.register("steering")
def steering(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens decoded a second under an ablation along a random direction, against plain transformers without one."""
    recipe = Ablate(random_direction(subject)).at("all")
    timings = {}
    for size in BATCHES:
        ways = {"steered": ours(subject, size, recipe), "not steered": ours(subject, size)}
        ways |= {f"plain, {attention}": theirs(subject, size, attention) for attention in ("eager", "sdpa")}
        timings[f"batch {size}"] = table(interleaved(ways, rounds, units=size * NEW_TOKENS, unit="tokens"))
    return {"timings": timings}
