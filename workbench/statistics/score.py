"""A measured number that carries its interval and its sample size wherever it goes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Better = Literal["higher", "lower", "neither"]


class Score(BaseModel):
    """A value with its 95 % interval.

    `n` counts the units that were averaged (prompts, not tokens). `low` and `high` are None only where one
    observation allows no interval. `better` says which way is good, so that a table can be read by itself.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    better: Better = "neither"

    def __str__(self) -> str:
        return self.format(".3g")

    def format(self, spec: str) -> str:
        """`value [low, high]`, each by the same format specification."""
        if self.low is None or self.high is None:
            return f"{self.value:{spec}} [n=1]"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    @property
    def percent(self) -> str:
        """A share as per cent: `60 % [39, 78]`."""
        if self.low is None or self.high is None:
            return f"{100 * self.value:.0f} % [n=1]"
        return f"{100 * self.value:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"
