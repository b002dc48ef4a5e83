"""Refusal-feature adversarial training (ReFAT, Yu et al. 2024, arXiv:2409.20089).

In half of the steps the direction between harmful and harmless prompts is taken out of the stream after every layer
while the model learns to refuse, so that it must refuse without it. The direction is read from the model as it is at
that moment, every few steps. The replies are the extended ones.
"""

from dataclasses import dataclass

from workbench.studies.defence.method import defences
from workbench.studies.defence.methods.extended_refusal import ExtendedRefusal


@defences.register("adversarial")
@dataclass(frozen=True)
class Adversarial(ExtendedRefusal):
    """Learn to refuse with refusal ablated."""

    attacked = 0.5
