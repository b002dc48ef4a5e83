"""The concepts that are active at each token, found without a tensor of (batch, position, concept).

    l_c = E_c . x + b_c        the k largest l_c, kept as values and numbers; the concepts are gone through in blocks

so that memory grows with k and the block, and not with the number of concepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from workbench.runs import digest_tensors

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
        return self.each([concept])[:, 0]

    def each(self, concepts: Sequence[int]) -> Float[Tensor, "token concept"]:
        """The activations of some concepts; 0 where one is not among the active."""
        asked = torch.tensor(concepts, device=self.concepts.device)
        return (self.values[..., None] * (self.concepts[..., None] == asked)).sum(dim=1)


@dataclass(frozen=True, eq=False)
class ConceptReader:
    """Reads the `k` most active concepts of a stream that was divided by its scale.

    Activations are `bounded` by 1 where a sigmoid follows (known concepts); else they are what is above 0.
    """

    encoder: Float[Tensor, "n d_model"]
    bias: Float[Tensor, " n"]
    k: int
    bounded: bool

    def __call__(self, x: Float[Tensor, "token d_model"]) -> Active:
        top = top_logits(x, self.encoder.to(x), self.bias.to(x), self.k)
        return Active(top.values.sigmoid() if self.bounded else top.values.relu(), top.concepts)

    @cached_property
    def digest(self) -> str:
        how = torch.tensor([self.k, self.bounded])
        return digest_tensors({"encoder": self.encoder, "bias": self.bias, "how": how})


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
