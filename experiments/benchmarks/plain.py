"""The plain way: the same weights in transformers, without a bridge."""

from typing import Any

from transformers import AutoModelForCausalLM

from workbench.models import Subject
from workbench.models.sources import resolve


def plain_model(subject: Subject) -> Any:
    """The model of `subject` as transformers opens it, in the same dtype and on the same device."""
    name = subject.origin if subject.origin.startswith(("/", ".")) else subject.name
    folder = resolve(name, str(subject.dtype).removeprefix("torch.")).folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=subject.dtype, trust_remote_code=False)
    return model.to(subject.device).eval()
