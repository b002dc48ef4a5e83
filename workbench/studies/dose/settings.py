"""What a study of doses turns, and what it asks of a dose."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from workbench.errors import UsageError

DOSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class DoseSettings:
    """What is turned, through which doses, towards what, and how much harm is allowed."""

    control: str = "strength"
    doses: tuple[float, ...] = DOSES
    goal: str = "comply"
    works: float = 0.8
    kl_limit: float = 0.2
    broken_limit: float = 0.1
    controls: bool = True

    def __post_init__(self) -> None:
        finite = all(map(isfinite, (*self.doses, self.kl_limit, self.broken_limit, self.works)))
        if not self.doses or len(set(self.doses)) < len(self.doses) or 0.0 in self.doses or not finite:
            raise UsageError(
                "Doses are different finite numbers other than 0, which is the baseline; give one at least."
            )
        if min(self.doses) < 0 < max(self.doses):
            raise UsageError("Doses below 0 and above it are two studies; give either.")
        if self.goal not in ("comply", "refuse"):
            raise UsageError(f"The goal is comply or refuse, not {self.goal!r}.")
        if not 0.0 < self.works <= 1.0:
            raise UsageError(
                f"The share of prompts at which a dose works is above 0 and at most 1, not {self.works:g}."
            )

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "DoseSettings":
        """From what `to_json` wrote, among other settings."""
        kept: dict[str, Any] = {item.name: value[item.name] for item in fields(cls)}
        return cls(**kept | {"doses": tuple(value["doses"])})

    @property
    def ordered(self) -> tuple[float, ...]:
        """The doses from the smallest to the largest, by size."""
        return tuple(sorted(self.doses, key=abs))

    @property
    def asked(self) -> str:
        """The prompts that are to change: harmful ones are to be complied with, harmless ones to be refused."""
        return "harmful" if self.goal == "comply" else "harmless"

    @property
    def wanted(self) -> str:
        """The measure of what is aimed at."""
        return "compliance" if self.goal == "comply" else "refusal"
