"""Conditions side by side: what was measured under each, and how it differs from the baseline on the same items.

Everything here follows from the replies and the items that a run wrote down; nothing is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.display import Shown
from workbench.errors import UsageError
from workbench.evaluation.metrics import Item, Measure, Observed, metrics
from workbench.evaluation.replies import Measured, reply_measures
from workbench.statistics import Difference, Score, holm, paired_difference, score_of

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

BASELINE, TREATED, RANDOM = "baseline", "treated", "random control"
HEADLINE = ("refusal", "compliance")
Values = dict[str, float]


@dataclass(frozen=True)
class Evaluation(Shown):
    """Every condition on every set, and by every metric; the first condition is the baseline.

    `measures` says, for each metric, what its values mean. `judge` names who called the outcomes, with its agreement
    with labels given by hand, where that is known. `matches` holds, for each control, its directions' mean squared
    projection as a share of the real ones'; `missing`, why a metric of the suite was not measured.
    """

    measured: tuple[Measured, ...]
    observed: tuple[Observed, ...] = ()
    measures: Mapping[str, Sequence[Measure]] = field(default_factory=dict)
    judge: str = "phrase"
    agreement: Score | None = None
    matches: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(self.conditions)}; judge {self.judge})"

    @property
    def conditions(self) -> list[str]:
        replied, observed = ([part.condition for part in parts] for parts in (self.measured, self.observed))
        return list(dict.fromkeys([*replied, *observed]))

    @property
    def sets(self) -> list[str]:
        return list(dict.fromkeys(part.asked for part in self.measured))

    def of(self, condition: str, asked: str) -> Measured:
        """The replies of one condition to one set."""
        return next(p for p in self.measured if (p.condition, p.asked) == (condition, asked))

    @cached_property
    def parts(self) -> tuple[Observed, ...]:
        """Everything measured, the replies' numbers first."""
        return (*(part.observed() for part in self.measured), *self.observed)

    @cached_property
    def _scores(self) -> dict[str, Score]:
        found = {}
        for part in self.parts:
            for measure in self.measures_of(part.metric):
                values = list(values_of(part.items, measure.name).values())
                if values and not (measure.name == "unjudged" and not any(values)):
                    name = f"{part.condition}/{part.metric}/{measure.name}"
                    found[name] = scored(name, measure, values)
        return found

    def measures_of(self, metric: str) -> Sequence[Measure]:
        """What the values of a metric, or of the replies to a set, mean."""
        if metric in self.measures:
            return self.measures[metric]
        if metric not in self.sets and metric in metrics:
            return metrics[metric].measures
        names = {name: None for part in self.parts if part.metric == metric for i in part.items for name in i.values}
        return reply_measures(metric, list(names))

    def scores(self) -> list[Score]:
        return list(self._scores.values())

    def score(self, condition: str, group: str, measure: str) -> Score:
        """One score, such as score("ablated", "harmful", "refusal").

        Raises UsageError where there is none.
        """
        name = f"{condition}/{group}/{measure}"
        if name not in self._scores:
            raise UsageError(f"{name} was not measured; there are: {', '.join(self._scores)}.")
        return self._scores[name]

    @cached_property
    def _differences(self) -> dict[str, Difference]:
        """Every condition against the baseline, or the control of a distance, corrected for the whole table.

        Half of the table's error is its headline's: refusal and coherent compliance of every condition on each set. The
        other measures have the other half, so that their number does not hide what the evaluation is about.
        """
        found = [
            difference
            for part in self.parts
            for measure in self.measures_of(part.metric)
            if (base := self._base(part, measure)) is not None
            if (difference := compared(base, part, measure)) is not None
        ]
        families: dict[bool, list[Difference]] = {}
        for difference in found:
            families.setdefault(self._is_headline(difference), []).append(difference)
        corrected = [each for held in families.values() for each in holm(held, 1 / len(families))]
        kept = {difference.name: difference for difference in corrected}
        return {difference.name: kept[difference.name] for difference in found}

    def _is_headline(self, difference: Difference) -> bool:
        _, group, measure = difference.name.rsplit("/", 2)
        return group in self.sets and measure in HEADLINE

    def _base(self, part: Observed, measure: Measure) -> Observed | None:
        """What a measure of a condition is compared with; None where it is that itself, or there is nothing."""
        against = RANDOM if measure.distance else BASELINE
        if part.condition in (BASELINE, against):
            return None
        return next((p for p in self.parts if (p.condition, p.metric) == (against, part.metric)), None)

    def differences(self) -> list[Difference]:
        """Each condition's change from the baseline in every measure, on the same items, Holm-corrected.

        A distance from the baseline is compared with the random control's.
        """
        return list(self._differences.values())

    def difference(self, condition: str, group: str, measure: str) -> Difference | None:
        """One change from the baseline, or None where there is none."""
        return self._differences.get(f"{condition}/{group}/{measure}")

    def to_json(self) -> dict[str, Any]:
        return {
            "judge": {"name": self.judge, "kappa": self.agreement and self.agreement.model_dump()},
            "control_match": {name: list(ratios) for name, ratios in self.matches.items()},
            "not_measured": dict(self.missing),
            "measures": {m: [vars(x) for x in self.measures_of(m)] for m in {p.metric: None for p in self.parts}},
            "scores": [score.model_dump() for score in self.scores()],
            "differences": [d.model_dump() | {"says": d.says} for d in self.differences()],
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a score, with its difference from the baseline where there is one."""
        import pandas

        rows = []
        for name, score in self._scores.items():
            condition, group, measure = name.rsplit("/", 2)
            row = {"condition": condition, "group": group, "measure": measure} | score.model_dump(exclude={"name"})
            if (d := self._differences.get(name)) is not None:
                row |= {"change": d.value, "change_low": d.low, "change_high": d.high, "p_holm": d.adjusted}
            rows.append(row)
        return pandas.DataFrame(rows)

    def plot(self) -> "Figure":
        """Refusals with their intervals, by condition and set."""
        from workbench.plots import rates_figure

        names = {asked: [f"{c}/{asked}/refusal" for c in self.conditions] for asked in self.sets}
        series = {asked: [self._scores.get(name) for name in each] for asked, each in names.items()}
        return rates_figure(self.conditions, series, "Refusals (%)")


def values_of(items: Sequence[Item], measure: str) -> Values:
    """The values of a measure by item, where there are any."""
    found = {item.key: item.values.get(measure) for item in items}
    return {key: value for key, value in found.items() if value is not None}


def scored(name: str, measure: Measure, values: Sequence[float]) -> Score:
    """The rate or the mean of values, with its interval."""
    return score_of(name, measure.kind, values, measure.better)


def compared(base: Observed, part: Observed, measure: Measure) -> Difference | None:
    """The change in one measure, on the items that have a value before and after; None where none has."""
    before, after = values_of(base.items, measure.name), values_of(part.items, measure.name)
    both = [key for key in before if key in after]
    if not both or measure.name == "unjudged":
        return None
    name = f"{part.condition}/{part.metric}/{measure.name}"
    return paired_difference(name, [before[key] for key in both], [after[key] for key in both], measure.kind)
