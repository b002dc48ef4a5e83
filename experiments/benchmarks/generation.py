"""How quick is decoding: one prompt at a time, and one prompt under eight recipes side by side?

At batch 1, against `generate` of transformers with each attention implementation. Side by side: eight full ablations
(three places in every layer), each along another direction, against one of them; and transformers with a batch of 8
and of 1, without any.
"""

from typing import Any

from experiments.benchmarks import benchmarks, interleaved, table
from experiments.benchmarks.talking import NEW_TOKENS, asked, ours, random_direction, theirs
from workbench.generation import generate, side_by_side
from workbench.interventions import Ablate
from workbench.models import Subject

RECIPES = 8


@benchmarks.register("generation")
def generation(subject: Subject, rounds: int) -> dict[str, Any]:
    """Tokens decoded a second by one reply; and how long eight recipes take, for one of them."""
    ways = {"generate": ours(subject, 1)} | {f"plain, {a}": theirs(subject, 1, a) for a in ("eager", "sdpa")}
    recipes = [Ablate(random_direction(subject, seed)).at("all") for seed in range(RECIPES)]
    beside = {
        "eight recipes": lambda: side_by_side(subject, asked(1), recipes, max_new_tokens=NEW_TOKENS),
        "one recipe": lambda: generate(subject, asked(1), recipes[0], max_new_tokens=NEW_TOKENS),
        "plain, batch 8": theirs(subject, RECIPES, "sdpa"),
        "plain, batch 1": theirs(subject, 1, "sdpa"),
    }
    alone = interleaved(ways, rounds, units=NEW_TOKENS, unit="tokens")
    together = interleaved(beside, rounds, units=NEW_TOKENS, unit="steps")
    eight, one, plain_eight, plain_one = (timing.median for timing in together)
    return {
        "timings": {"batch 1": table(alone), "side by side": table(together)},
        "eight_over_one": round(eight / one, 3),
        "plain_eight_over_one": round(plain_eight / plain_one, 3),
    }
