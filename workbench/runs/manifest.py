"""All that repeats a run."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workbench.runs.fingerprint import digest_json, versions
from workbench.statistics import Score

SCHEMA = 3  # 2: evaluations and bottlenecks had another layout


class RunManifest(BaseModel):
    """What was asked, of which model and data, with which versions, and what came out.

    `identity` is the digest of what decides the result: the command, its settings, the model and the data. Two
    runs with one identity are the same run, so an unfinished one can be continued.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    command: str
    settings: dict[str, Any]
    model: dict[str, str]
    data: dict[str, str]
    status: Literal["running", "done"] = "running"
    started: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = Field(default_factory=versions)
    artefacts: dict[str, str] = Field(default_factory=dict)
    scores: list[Score] = Field(default_factory=list)
    timings: dict[str, float] = Field(default_factory=dict)
    seal: str = ""

    def sealed(self) -> str:
        """The digest of everything that a finished run recorded, without the seal itself."""
        return digest_json(self.model_dump(mode="json", exclude={"seal"}))

    @field_validator("model")
    @classmethod
    def _has_a_name(cls, model: dict[str, str]) -> dict[str, str]:
        if "name" not in model:
            raise ValueError("the model has no name")
        return model

    @property
    def identity(self) -> str:
        return digest_json([self.schema_version, self.command, self.settings, self.model, self.data])
