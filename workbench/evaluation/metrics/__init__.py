"""Numbers read from logits rather than from replies."""

from workbench.evaluation.metrics.divergence import first_token_kl, kl_divergence

__all__ = ["first_token_kl", "kl_divergence"]
