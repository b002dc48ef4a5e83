"""Conditions side by side: what each said, and how it differs from the baseline on the same prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from workbench.evaluation.outcomes import Outcome
from workbench.statistics import PairedTest, Score, mcnemar, mean_score, rate_score

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

BASELINE = "baseline"


class Judged(BaseModel):
    """One reply as it is stored: what was asked, what was said, and the outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    digest: str
    category: str | None
    reply: str
    outcome: Outcome
    kl: float | None = None


class Measured(BaseModel):
    """All replies of one condition to one set (`harmful` or `harmless`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: str
    asked: str
    replies: tuple[Judged, ...]

    def count(self, outcome: Outcome) -> int:
        return sum(reply.outcome == outcome for reply in self.replies)

    def scores(self) -> list[Score]:
        """Refusal, broken replies and, where it was measured, divergence, each with its interval."""
        n, where = len(self.replies), f"{self.condition}/{self.asked}"
        found = [
            rate_score(f"{where}/refusal", self.count(Outcome.REFUSE), n),
            rate_score(f"{where}/broken", self.count(Outcome.BROKEN), n, "lower"),
        ]
        divergences = [reply.kl for reply in self.replies if reply.kl is not None]
        if divergences:
            found.append(mean_score(f"{where}/first_token_kl", divergences, "lower"))
        return found


@dataclass(frozen=True)
class Comparison:
    """Refusal under one condition against the baseline, on the same prompts."""

    condition: str
    asked: str
    baseline: Score
    treated: Score
    test: PairedTest

    def to_json(self) -> dict[str, Any]:
        return {
            "condition": self.condition,
            "asked": self.asked,
            "baseline": self.baseline.model_dump(),
            "treated": self.treated.model_dump(),
            "test": self.test.model_dump(),
        }


@dataclass(frozen=True)
class Evaluation:
    """Every condition on every set; the first condition is the baseline.

    `matches` holds, for each control, its directions' mean squared projection as a share of the real ones'.
    """

    measured: tuple[Measured, ...]
    judge: str = "phrase"
    matches: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(self.conditions)}; judge {self.judge})"

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(part.condition for part in self.measured))

    @property
    def sets(self) -> list[str]:
        return list(dict.fromkeys(part.asked for part in self.measured))

    def of(self, condition: str, asked: str) -> Measured:
        """The replies of one condition to one set."""
        return next(p for p in self.measured if (p.condition, p.asked) == (condition, asked))

    def scores(self) -> list[Score]:
        return [score for part in self.measured for score in part.scores()]

    def score(self, condition: str, asked: str, name: str) -> Score:
        """One score, such as score("ablated", "harmful", "refusal")."""
        wanted = f"{condition}/{asked}/{name}"
        return next(score for score in self.of(condition, asked).scores() if score.name == wanted)

    def comparisons(self) -> list[Comparison]:
        """Each condition's refusals against the baseline's, by McNemar's exact test."""
        return [
            self._compare(condition, asked)
            for condition in self.conditions
            if condition != BASELINE
            for asked in self.sets
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "control_match": {name: list(ratios) for name, ratios in self.matches.items()},
            "scores": [score.model_dump() for score in self.scores()],
            "comparisons": [comparison.to_json() for comparison in self.comparisons()],
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a score."""
        import pandas

        return pandas.DataFrame([score.model_dump() for score in self.scores()])

    def plot(self) -> "Figure":
        """Refusal rates with their intervals, by condition and set."""
        from workbench.plots import rates_figure

        series = {asked: [self.score(c, asked, "refusal") for c in self.conditions] for asked in self.sets}
        return rates_figure(self.conditions, series, "Refusals (%)")

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(index=False))

    def _compare(self, condition: str, asked: str) -> Comparison:
        before, after = self.of(BASELINE, asked), self.of(condition, asked)
        return Comparison(
            condition,
            asked,
            self.score(BASELINE, asked, "refusal"),
            self.score(condition, asked, "refusal"),
            mcnemar(_refused(before.replies), _refused(after.replies)),
        )


def _refused(replies: Sequence[Judged]) -> list[bool]:
    return [reply.outcome == Outcome.REFUSE for reply in replies]
