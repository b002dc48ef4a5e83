"""Scores as pages show them. A score is named CONDITION/SET/MEASURE: ablated/harmful/refusal."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from workbench.errors import RunError
from workbench.plots import Figure, rates_figure
from workbench.statistics import Difference, Score

OUTCOMES = ("refusal", "compliance", "evasion", "broken")  # shares of replies; all else is a mean with a unit
Scores = Mapping[str, Score]
Differences = Mapping[str, Difference]


def read_scores(rows: Any) -> dict[str, Score]:
    """Scores by name. Raises RunError where `rows` are none."""
    return {score.name: score for score in _read(list[Score], rows)}


def read_differences(rows: Any) -> dict[str, Difference]:
    """Changes from the baseline by name. Raises RunError where `rows` are none."""
    return {difference.name: difference for difference in _read(list[Difference], rows)}


def split(name: str) -> tuple[str, str]:
    """Condition and measure of a score's name; a search's scores have no condition."""
    first, *last = name.rsplit("/", 2)
    return (first, "/".join(last)) if len(last) == 2 else ("", name)


def is_share(measure: str) -> bool:
    """Whether a measure is a share of replies, which is shown in per cent."""
    return measure.rsplit("/", 1)[-1].partition("@")[0] in OUTCOMES


def conditions_of(scores: Iterable[str]) -> list[str]:
    """The conditions, in the order in which they were measured."""
    return list(dict.fromkeys(split(name)[0] for name in scores))


def refusals(scores: Scores) -> Figure:
    """Refusals by condition and set: the figure that an evaluation draws of itself."""
    conditions = conditions_of(scores)
    sets = dict.fromkeys(m.partition("/")[0] for _, m in map(split, scores) if m.endswith("/refusal"))
    series = {asked: [scores.get(f"{c}/{asked}/refusal") for c in conditions] for asked in sets}
    return rates_figure(conditions, series, "Refusals (%)")


def scores_table(scores: Scores, differences: Differences) -> pd.DataFrame:
    """One row a score, with its change from the baseline where it has one."""
    rows = []
    for name, score in scores.items():
        condition, measure = split(name)
        row: dict[str, Any] = {"condition": condition, "measure": measure} | score.model_dump(exclude={"name"})
        if (change := differences.get(name)) is not None:
            row |= {"change": change.value, "change_low": change.low, "change_high": change.high}
            row |= {"p (Holm)": change.adjusted, "says": change.says}
        rows.append(row)
    return pd.DataFrame(rows)


def in_percent(score: Score) -> str:
    """A share: 60 % [39, 78]."""
    ends = "" if score.low is None or score.high is None else f" [{100 * score.low:.0f}, {100 * score.high:.0f}]"
    return f"{100 * score.value:.0f} %{ends}"


def _read(shape: Any, rows: Any) -> Any:
    try:
        return TypeAdapter(shape).validate_python(rows)
    except ValidationError as error:
        raise RunError(f"These scores are damaged ({error.error_count()} faults); run it again.") from error
