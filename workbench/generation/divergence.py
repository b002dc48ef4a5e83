"""KL(base || edited) of next-token distributions, over the full vocabulary, in float64."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def in_float64(values: Tensor) -> Tensor:
    """In double precision, on the processor where the device has none (Apple's)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def kl_divergence(
    base: Float[Tensor, "*batch vocab"], edited: Float[Tensor, "*batch vocab"]
) -> Float64[Tensor, "*batch"]:
    """KL(softmax(base) || softmax(edited)) of each row of logits, in nats; rounding never makes it negative.

    A token that the base never says (a logit of minus infinity) counts for nothing.
    """
    log_base = torch.log_softmax(in_float64(base), dim=-1)
    log_edited = torch.log_softmax(in_float64(edited), dim=-1)
    never = log_base == -torch.inf
    terms = torch.where(never, 0.0, log_base.exp() * (log_base - log_edited))
    return terms.sum(dim=-1).clamp_min(0.0)
