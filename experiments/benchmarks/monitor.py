"""What does it cost to have a monitor read a probe at every token?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, asked, ours, random_direction
from probes.monitoring import Monitor, monitored
from workbench.models import Site, Subject

BATCHES = (1, 16)
_NEVER = 1e9


@benchmarks.register("monitor")
def monitor(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens a second under a monitor in the middle of the model, and of `generate` without one."""
    timings = {}
    for size in BATCHES:
        ways = {"monitored": _monitored(subject, size), "generate": ours(subject, size)}
        timings[f"batch {size}"] = table(interleaved(ways, rounds, units=size * NEW_TOKENS, unit="tokens"))
    return {"timings": timings}


def _monitored(subject: Subject, n: int) -> Callable[[], object]:
    reads = replace(random_direction(subject), site=Site(subject.n_layers // 2, "resid_post"))

    def run() -> None:
        found = monitored(subject, asked(n), Monitor(reads, _NEVER), max_new_tokens=NEW_TOKENS, batch_size=n)
        if any(len(each.coordinates) != NEW_TOKENS for each in found):
            raise RuntimeError("A reply ended before it was measured.")

    return run
