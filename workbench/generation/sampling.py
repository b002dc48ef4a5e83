"""Choosing the next token: greedy, or sampled at a temperature from the nucleus (Holtzman et al. 2020).

Each row draws from a generator of its own, seeded by the request's seed and the row's prompt, so that a reply
does not depend on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import ModelError, UsageError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise UsageError(f"The temperature must be 0 (greedy) or more; got {self.temperature}.")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p must be above 0 and at most 1; got {self.top_p}.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"The seed must be from 0 to 2^63 - 1; got {self.seed}.")

    def generators(self, digests: Sequence[str]) -> list[torch.Generator]:
        """One generator a row."""
        return [torch.Generator().manual_seed(self.seed ^ int(digest[:15], 16)) for digest in digests]

    def choose(
        self, logits: Float[Tensor, "batch vocab"], generators: Sequence[torch.Generator]
    ) -> Int[Tensor, " batch"]:
        """The next token of each row."""
        largest, greedy = logits.max(dim=-1)
        if not torch.isfinite(largest).all():
            raise ModelError(
                "The model's logits are not finite numbers, so there is no next token; use a weaker strength, or "
                "--dtype float32."
            )
        if self.temperature == 0.0:
            return greedy
        # Shifted before it is divided, so that no temperature is too small.
        shifted = logits.cpu().double() - largest.cpu().double()[:, None]
        probabilities = torch.softmax(shifted / self.temperature, dim=-1)
        drawn = [
            torch.multinomial(_nucleus(row, self.top_p), 1, generator=generator)
            for row, generator in zip(probabilities, generators, strict=True)
        ]
        return torch.cat(drawn).to(logits.device)


def _nucleus(probabilities: Float[Tensor, " vocab"], top_p: float) -> Float[Tensor, " vocab"]:
    """The smallest set of tokens whose mass reaches `top_p`; the rest is set to 0."""
    if top_p >= 1.0:
        return probabilities
    ordered, index = probabilities.sort(descending=True)
    outside = ordered.cumsum(dim=0) - ordered >= top_p
    return probabilities.index_fill(0, index[outside], 0.0)
