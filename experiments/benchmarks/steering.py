"""What does a full ablation (three places in every layer) cost while the model talks, at batch 1 and at batch 16?"""

from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, ours, theirs
from workbench.directions import Direction, random_unit
from workbench.interventions import Ablate
from workbench.models import Site, Subject

BATCHES = (1, 16)


@benchmarks.register("steering")
def steering(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens decoded a second under an ablation along a random direction, against plain transformers without one."""
    recipe = Ablate(_direction(subject)).at("all")
    timings = {}
    for size in BATCHES:
        ways = {"steered": ours(subject, size, recipe), "not steered": ours(subject, size)}
        ways |= {f"plain, {attention}": theirs(subject, size, attention) for attention in ("eager", "sdpa")}
        timings[f"batch {size}"] = table(interleaved(ways, rounds, units=size * NEW_TOKENS, unit="tokens"))
    return {"timings": timings}


def _direction(subject: Subject) -> Direction:
    import torch

    first = torch.zeros(subject.d_model)
    first[0] = 1.0
    return Direction(
        unit=random_unit(first, seed=0),
        origin=0.0,
        scale=1.0,
        site=Site(0, "resid_pre"),
        position=None,
        method="random",
        model_name=subject.name,
        model_digest=subject.digest,
    )
