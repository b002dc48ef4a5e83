"""How an export is proved: read again in a fresh process, its logits held against those of the live edit."""

from workbench.weights.certificates.certificate import Certificate, certify
from workbench.weights.certificates.rows import certificate_prompts, certificate_rows

__all__ = ["Certificate", "certificate_prompts", "certificate_rows", "certify"]
