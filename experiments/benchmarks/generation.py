"""How quick is decoding at batch 1, against `generate` of transformers with each attention implementation?"""

from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, ours, theirs
from workbench.models import Subject


@benchmarks.register("generation")
def generation(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens decoded a second, one prompt at a time."""
    ways = {"generate": ours(subject, 1)} | {f"plain, {a}": theirs(subject, 1, a) for a in ("eager", "sdpa")}
    return {"timings": table(interleaved(ways, rounds, units=NEW_TOKENS, unit="tokens"))}
