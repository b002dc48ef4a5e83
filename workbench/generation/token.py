"""What a stream yields, a token at a time, and under which recipes it was computed."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.interventions import Recipe


@dataclass(frozen=True)
class Token:
    """One token of one reply.

    `text` is what it adds to the reply: nothing while a character is not whole, or where the token ends the reply.
    `logprob` and `entropy` (nats) are of the distribution it was chosen from, before temperature; NaN where they were
    not asked for. `watched` holds the coordinates of directions, in class gaps, or of concepts, in natural units;
    `kl` the divergence from the unedited model where it was asked for.
    """

    row: int
    index: int
    id: int
    text: str
    logprob: float
    entropy: float
    watched: Mapping[str, float]
    kl: float | None
    ends: bool


@dataclass(frozen=True)
class Span:
    """Positions `start` to `stop` - 1 of a row's cache, and the recipe that they were computed under."""

    start: int
    stop: int
    recipe: Recipe
