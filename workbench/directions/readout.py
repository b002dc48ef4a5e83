"""A readout: one number read from an activation. What a probe becomes, and what a gate asks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite

from jaxtyping import Float
from torch import Tensor

from workbench.directions.direction import Direction
from workbench.errors import UsageError
from workbench.registry import Registry

readouts: "Registry[type[Readout]]" = Registry("readout", "workbench.directions.readouts", "workbench.readouts")


@dataclass(frozen=True)
class Readout(ABC):
    """A number along `direction`, and the `threshold` above which it says yes; `bias` is added to what is read."""

    direction: Direction
    threshold: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("threshold", "bias"):
            value = float(getattr(self, name))
            if not isfinite(value):
                raise UsageError(f"{type(self).__name__}: the {name} is {value}; give a finite number.")
            object.__setattr__(self, name, value)

    @abstractmethod
    def measure(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """The number, without the bias, in float32."""

    def __call__(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """The number that is compared with the threshold."""
        return self.measure(acts) + self.bias
