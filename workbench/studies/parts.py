"""What the scores of an experiment come from: the runs that it is made of, and values that it wrote down."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workbench.runs import RunFolder
from workbench.statistics import Score, score_of

VALUES = "values.jsonl"


class Valued(BaseModel):
    """The values of one score, an item each: a `rate` of yes and no (1 and 0), or a `mean`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["rate", "mean"]
    values: tuple[float, ...]

    @property
    def score(self) -> Score:
        """The score with its interval."""
        return score_of(self.name, self.kind, self.values)


def scores_of(parts: Iterable[RunFolder], values: Iterable[Valued]) -> list[Score]:
    """All scores: a run's are named after it."""
    theirs = [
        score.model_copy(update={"name": f"{part.path.name}/{score.name}"})
        for part in parts
        for score in part.manifest.scores
    ]
    return theirs + [each.score for each in values]
