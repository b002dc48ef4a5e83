"""How a bottleneck is trained."""

from pydantic import BaseModel, ConfigDict, Field


class Weights(BaseModel):
    """Of the losses; 0 leaves one out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    concepts: float = Field(default=1.0, ge=0)
    reconstruction: float = Field(default=1.0, ge=0)
    next_token: float = Field(default=0.1, ge=0)
    independence: float = Field(default=0.1, ge=0)
    adversary: float = Field(default=0.1, ge=0)


class ConceptSettings(BaseModel):
    """The module's sizes, the losses' weights, and the course of training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    discovered: int = Field(default=1024, ge=1)
    k_known: int = Field(default=16, ge=1)
    k_discovered: int = Field(default=64, ge=1)
    factorised_above: int = Field(default=8192, ge=1)
    rank: int = Field(default=256, ge=1)
    weights: Weights = Weights()
    unlabelled: float = Field(default=0.1, ge=0, le=1)
    per_token: float = Field(default=1.0, ge=0)
    floor: float = Field(default=0.3, ge=0, le=1)
    taught_first: float = Field(default=1.0, ge=0, le=1)
    taught_last: float = Field(default=0.25, ge=0, le=1)
    residual_dropout: float = Field(default=0.25, ge=0, le=1)
    candidates: int = Field(default=2048, ge=1)
    epochs: int = Field(default=12, ge=1)
    patience: int = Field(default=3, ge=1)
    batch: int = Field(default=64, ge=2)  # texts
    rate: float = Field(default=2e-3, gt=0)
    decay: float = Field(default=1e-2, ge=0)
    seed: int = 0
