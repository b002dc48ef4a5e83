"""The concepts that are active at each token, found without a tensor of (batch, position, concept).

    l_c = E_c . x + b_c        the k largest l_c, kept as values and numbers; the concepts are gone through in blocks

so that memory grows with k and the block, and not with the number of concepts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK = 4096  # concepts at once


@dataclass(frozen=True)
class Active:
    """Activations of the k most active concepts of each token, and which they are."""

    values: Float[Tensor, "token k"]
    concepts: Int[Tensor, "token k"]

    def written(self, vectors: Float[Tensor, "concept width"]) -> Float[Tensor, "token width"]:
        """The sum of the active concepts' vectors, each times its activation."""
        return embedding_bag(self.concepts, vectors, mode="sum", per_sample_weights=self.values)

    def of(self, concept: int) -> Float[Tensor, " token"]:
        """One concept's activation; 0 where it is not among the active."""
        return (self.values * (self.concepts == concept)).sum(dim=-1)


def top_logits(
    x: Float[Tensor, "token width"], encoder: Float[Tensor, "concept width"], bias: Float[Tensor, " concept"], k: int
) -> Active:
    """The k largest logits of each token."""
    values, concepts = x.new_empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.long, device=x.device)
    for start in range(0, len(encoder), BLOCK):
        block = x @ encoder[start : start + BLOCK].T + bias[start : start + BLOCK]
        top = block.topk(min(k, block.shape[-1]), dim=-1)
        values = torch.cat([values, top.values], dim=-1)
        concepts = torch.cat([concepts, top.indices + start], dim=-1)
        if values.shape[-1] > k:
            best = values.topk(k, dim=-1)
            values, concepts = best.values, concepts.gather(-1, best.indices)
    return Active(values, concepts)


def scale_of(acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
    """The root mean square of each token's activation."""
    return acts.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-12)
