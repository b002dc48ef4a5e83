"""What decides the result of a minimisation, beside the model and the prompts."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from workbench.errors import UsageError


@dataclass(frozen=True)
class MinimiseSettings:
    """The settings of a minimisation; each default is written here and nowhere else.

    `budget` is the mean KL in nats on harmless prompts above which damage weighs more and more; `margin` how far below
    0 the refusal metric is pushed; `most_refused` the share of validation prompts that may still begin as a refusal.
    """

    budget: float = 0.05
    margin: float = 3.0
    damage_weight: float = 20.0
    most_refused: float = 0.02
    learn_directions: bool = True
    steps: int = 24
    every: int = 6
    batch: int = 16
    strength_rate: float = 0.1
    direction_rate: float = 0.01
    trials: int = 0
    n_train: int = 128
    n_val: int = 64
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        least: dict[str, float] = {"steps": 1, "every": 1, "batch": 1, "n_train": 2, "n_val": 2, "batch_size": 1}
        for name, low in (least | {"trials": 0, "damage_weight": 0.0}).items():
            if not getattr(self, name) >= low:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least {low:g}.")
        if not 0 < self.budget < inf:
            raise UsageError(f"The KL budget is {self.budget:g} nats; give a number above 0.")
        if not 0 <= self.margin < inf:
            raise UsageError(f"The margin is {self.margin:g}; give a number from 0 on.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
