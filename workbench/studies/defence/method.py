"""A defence: what a model is taught to say to harmful requests, and whether it is attacked while it learns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.prompts import Prompt
from workbench.registry import Registry

defences: "Registry[type[Defence]]" = Registry("defence", "workbench.studies.defence.methods", "workbench.defences")


@dataclass(frozen=True)
class Defence(ABC):
    """One way of training. `attacked` is the share of steps in which refusal is ablated while the model learns."""

    attacked: ClassVar[float] = 0.0

    @abstractmethod
    def refusal(self, prompt: Prompt, generator: np.random.Generator) -> str:
        """What the model shall say to a harmful request."""
