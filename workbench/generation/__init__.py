"""Talking: decoding with a cache, streaming, several recipes side by side, and what another would have said."""

from workbench.generation.counterfactual import Counterfactual, counterfactual
from workbench.generation.decoding import generate, side_by_side
from workbench.generation.divergence import kl_divergence
from workbench.generation.replies import Replies, Reply
from workbench.generation.sampling import Sampling
from workbench.generation.streaming import Stream, stream
from workbench.generation.token import Span, Token

__all__ = [
    "Counterfactual",
    "Replies",
    "Reply",
    "Sampling",
    "Span",
    "Stream",
    "Token",
    "counterfactual",
    "generate",
    "kl_divergence",
    "side_by_side",
    "stream",
]
