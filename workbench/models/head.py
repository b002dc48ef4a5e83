"""The end of a model, from the last residual stream to the logits, as a linear map whose scale is held fixed.

    logit_y(h) = W_y . (g * centred(h)) / s(h) + (W_y . b + c_y)

s is the root mean square of the stream (RMSNorm), or its standard deviation (LayerNorm, whose mean is taken away first:
`centred`). With s held at its value, the logit is a sum over whatever parts h is a sum of (Elhage et al. 2021).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import ModelError
from workbench.models.subject import Subject


@dataclass(frozen=True)
class Head:
    """Final norm and unembedding; nothing is copied of the latter."""

    gain: Float[Tensor, " d_model"]
    shift: Float[Tensor, " d_model"]
    unembedding: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"] | None
    eps: float
    centres: bool

    @classmethod
    def of(cls, subject: Subject) -> "Head":
        """Raises ModelError where the logits are no such sum."""
        norm, unembed = subject.bridge.ln_final, subject.bridge.unembed.original_component
        config = subject.bridge.original_model.config
        if getattr(config, "final_logit_softcapping", None):
            raise ModelError(f"{subject.name} bends its logits at the end (softcapping), so they are no sum of parts.")
        weight = norm.original_component.weight.detach().float()
        bias = getattr(norm.original_component, "bias", None)
        last = _multiplier(config)  # of all logits, which is as well one of the norm's gain and of the biases
        known = [getattr(norm.original_component, name, None) for name in ("variance_epsilon", "eps")]
        return cls(
            gain=last * (weight + 1 if norm.uses_weight_offset else weight),
            shift=torch.zeros_like(weight) if bias is None else last * bias.detach().float(),
            unembedding=unembed.weight.detach(),
            bias=None if getattr(unembed, "bias", None) is None else last * unembed.bias.detach().float(),
            eps=next((float(each) for each in known if each is not None), 1e-5),
            centres=not norm.uses_rms_norm,
        )

    def direct(self, part: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """A part of the stream as the unembedding meets it, before it is divided by the scale."""
        wide = part.float()
        return (wide - wide.mean(dim=-1, keepdim=True) if self.centres else wide) * self.gain

    def direct_rows(self, rows: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What of a stream such rows of the unembedding read: `direct(h) . row = h . direct_rows(row)`."""
        weighted = rows.float() * self.gain
        return weighted - weighted.mean(dim=-1, keepdim=True) if self.centres else weighted

    def scale(self, stream: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """What the final norm divides by."""
        wide = stream.float()
        centred = wide - wide.mean(dim=-1, keepdim=True) if self.centres else wide
        return (centred.square().mean(dim=-1, keepdim=True) + self.eps).sqrt()

    def rows(self, tokens: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n d_model"]:
        """Unembedding rows of some tokens, or of all."""
        return self.unembedding if tokens is None else self.unembedding[tokens]

    def constant(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What the biases add to the logits of some tokens, whatever the stream."""
        found = einsum(self.rows(tokens).float(), self.shift, "n d_model, d_model -> n")
        return found if self.bias is None else found + self.bias[tokens]

    @cached_property
    def mean_row(self) -> Float[Tensor, " d_model"]:
        """The unembedding's mean over the vocabulary, a few rows at a time."""
        total = torch.zeros(self.unembedding.shape[1], device=self.unembedding.device)
        for rows in self.unembedding.split(16_384):
            total += rows.float().sum(dim=0)
        return total / len(self.unembedding)

    def logits(
        self, stream: Float[Tensor, "*batch d_model"], tokens: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*batch n"]:
        """Logits of some tokens, or of all."""
        normed = self.direct(stream) / self.scale(stream) + self.shift
        rows = self.rows(tokens)
        found = (normed.to(rows.dtype) @ rows.T).float()
        return found if self.bias is None else found + (self.bias if tokens is None else self.bias[tokens])


def _multiplier(config: Any) -> float:
    """What a model multiplies its logits by at the end: Cohere does, and Granite divides."""
    return float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
