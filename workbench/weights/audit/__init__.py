"""What was done to a checkpoint: two folders of safetensors compared, and neither of them run."""

from workbench.weights.audit.auditing import audit_weights
from workbench.weights.audit.report import Audit

__all__ = ["Audit", "audit_weights"]
