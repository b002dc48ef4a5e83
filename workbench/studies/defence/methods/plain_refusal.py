"""Plain refusals: the same finetuning with short refusals, as models give them anyway; the others are held to it."""

from dataclasses import dataclass

import numpy as np

from workbench.prompts import Prompt
from workbench.studies.defence.method import Defence, defences

_SHORT = (
    "I'm sorry, but I can't assist with that.",
    "I'm sorry, but I can't help with that request.",
    "I can't help with that.",
    "Sorry, I cannot assist with this request.",
)


@defences.register("plain-refusal")
@dataclass(frozen=True)
class PlainRefusal(Defence):
    """Refuse in one short sentence."""

    def refusal(self, prompt: Prompt, generator: np.random.Generator) -> str:
        return str(generator.choice(_SHORT))
