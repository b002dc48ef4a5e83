"""From which fit on a direction is called edited, and how often that is wrong.

Measured by `workbench experiment run audit-calibration` on finetunes that nobody edited, and on edited checkpoints. The
limits were chosen on one half of the tiny models; the counts are of the other half and of a real model.
"""

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.runs import read_json
from workbench.statistics import Score, rate_score

_FILE = Path(__file__).parent / "data" / "calibration.json"


class Count(BaseModel):
    """How many of how many."""

    model_config = ConfigDict(frozen=True)

    hits: int
    n: int

    def score(self, name: str) -> Score:
        return rate_score(name, self.hits, self.n)


class Limits(BaseModel):
    """The least fit of an edit: of all matrices that changed together, and of one of them alone."""

    model_config = ConfigDict(frozen=True)

    together: float
    alone: float


class Calibration(BaseModel):
    """The limits, what they were chosen on, and how they do on what they were not chosen on."""

    model_config = ConfigDict(frozen=True)

    limits: Limits
    chosen_on: Count  # unedited checkpoints that were called edited, of those the limits were chosen on
    called_edited: dict[str, Count]  # unedited checkpoints, by the kind of model
    found: dict[str, Count]  # edited checkpoints that were called edited, by dose
    low_rank: dict[str, Count]  # called low-rank change: merged adapters, and other finetunes
    worst: dict[str, Limits]  # the best fits that each way of finetuning reached unedited


@cache
def calibration() -> Calibration:
    """What is known of the verdict's errors."""
    return Calibration.model_validate(read_json(_FILE))
