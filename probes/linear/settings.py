"""How a probe is fitted and measured."""

from pydantic import BaseModel, ConfigDict, Field


class ProbeSettings(BaseModel):
    """`folds` measure, `inner_folds` choose among a method's candidates; `false_alarms` is the rate asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int = Field(default=5, ge=2)
    inner_folds: int = Field(default=4, ge=2)
    false_alarms: float = Field(default=0.01, ge=0, lt=1)
    shuffles: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)
