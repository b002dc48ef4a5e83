"""What a card says."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from workbench.display import Shown
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure


class Point(BaseModel):
    """Directions from `n` prompts a side: their agreement, and what the noise leads to expect."""

    model_config = ConfigDict(frozen=True)

    n: int
    agreement: Score | None  # None where there are not twice as many prompts
    shuffled: Score | None
    expected: float | None


class Card(BaseModel, Shown):
    """What is known of how sure the direction at one place is."""

    model_config = ConfigDict(frozen=True)

    place: str
    method: str
    n: tuple[int, int]  # prompts of each side
    found: float  # cosine between the direction as it was found and this card's, of all prompts
    bootstrap: Score
    shuffled: Score
    curve: tuple[Point, ...]
    names: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    bypass: tuple[Score, ...]  # of each name, of no edit, and of a matched random direction

    def __repr__(self) -> str:
        return f"Card({self.place}, {self.method}, bootstrap cosine {self.bootstrap})"

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a number of prompts: how far two directions from so many agree."""
        import pandas

        return pandas.json_normalize([point.model_dump() for point in self.curve])

    def plot(self) -> "Figure":
        """Agreement by n, transfer, and the effect of every direction."""
        from workbench.plots import identifiability_figure

        measured = [(point.n, point.agreement, point.shuffled) for point in self.curve]
        expected = [(point.n, point.expected) for point in self.curve if point.expected is not None]
        return identifiability_figure(measured, expected, self.names, self.cosines, self.bypass)
