"""Where refusal is made: what each part adds to it, and what comes back when one run's activations enter another."""

from probes.patching.activation_patching import patch_activations, patch_heads
from probes.patching.attributed import LogitAttribution
from probes.patching.attribution_patching import AttributionPatching, patch_first_order
from probes.patching.heads import AttentionPatterns, HeadAblation, ablate_heads, attention_patterns
from probes.patching.logit_attribution import attribute_logits
from probes.patching.metric import LogitDifference, Metric, RefusalLogOdds, compliance_tokens, tuning_pool
from probes.patching.pairs import Pairs, pair_prompts
from probes.patching.patched import ActivationPatching, HeadPatching
from probes.patching.path import CausalPath, causal_path

__all__ = [
    "ActivationPatching",
    "AttentionPatterns",
    "AttributionPatching",
    "CausalPath",
    "HeadAblation",
    "HeadPatching",
    "LogitAttribution",
    "LogitDifference",
    "Metric",
    "Pairs",
    "RefusalLogOdds",
    "ablate_heads",
    "attention_patterns",
    "attribute_logits",
    "causal_path",
    "compliance_tokens",
    "pair_prompts",
    "patch_activations",
    "patch_first_order",
    "patch_heads",
    "tuning_pool",
]
