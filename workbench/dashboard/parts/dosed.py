"""A dose study as pages show it, from its plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from workbench.dashboard.sources import Source, results
from workbench.errors import RunError
from workbench.plots import Figure
from workbench.plots.doses import Panel, dose_panels, doses_figure
from workbench.statistics import Score

KIND = "dose"
BASELINE, CONTROL = "baseline", "random "


@dataclass(frozen=True)
class Dosed:
    """The panels of a study, its rows, and what it says of itself."""

    held: Mapping[str, Any]
    panels: Mapping[str, Panel]

    @property
    def figure(self) -> Figure:
        """The panels, with the window."""
        window = self.held["window"]
        return doses_figure(self.panels, f"dose ({self.held['settings']['control']})", window and tuple(window))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each measure, condition and dose."""
        rows = []
        for measure, panel in self.panels.items():
            for name, points in (("recipe", panel.points), ("random control", panel.control)):
                for dose, score in points:
                    told = "baseline" if dose == 0 else name
                    rows.append((measure, told, dose, score.value, score.low, score.high, score.n))
        return pd.DataFrame(rows, columns=["measure", "condition", "dose", "value", "low", "high", "n"])

    @property
    def rows(self) -> pd.DataFrame:
        """A row for each dose: what it is said to do, and whether that is shown."""
        return pd.DataFrame([_row(row) for row in self.held["doses"]])

    @property
    def own(self) -> str:
        """From which dose on the prompts changed for good."""
        doses = list(self.held["own_doses"].values())
        known = sorted({dose for dose in doses if dose is not None}, key=abs)
        parts = [f"{dose:g}: {doses.count(dose)}" for dose in known] + [f"never: {doses.count(None)}"]
        return f"The dose from which on each of {len(doses)} prompts stays changed - {', '.join(parts)}."

    @property
    def judged(self) -> str:
        """Who called the outcomes, and how far that agrees with people."""
        judge = self.held["evaluation"]["judge"]
        kappa = judge["kappa"]
        how = (
            "" if kappa is None else f", kappa {Score.model_validate(kappa).format('.2f')} with people, n={kappa['n']}"
        )
        return f"Outcomes by the judge {judge['name']}{how}."


def read_dose(source: Source) -> Dosed:
    """The study of a source. RunError where it is damaged, half-written or of a newer workbench."""
    held = results(source, KIND)
    try:
        dosed = Dosed(held, _panels(held))
        _ = dosed.rows, dosed.own, dosed.judged
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise RunError(f"The results of {source.name} are damaged ({type(error).__name__}); run it again.") from error
    return dosed


def _panels(held: Mapping[str, Any]) -> dict[str, Panel]:
    said = held["settings"]
    scores = {score["name"]: Score.model_validate(score) for score in held["evaluation"]["scores"]}
    doses = [(float(dose), f"{dose:g}") for dose in sorted(said["doses"], key=abs)]
    controls = [(dose, CONTROL + name) for dose, name in doses] if said["controls"] else []
    aimed = ("harmful", "compliance") if said["goal"] == "comply" else ("harmless", "refusal")
    return dose_panels(
        lambda condition, group, measure: scores[f"{condition}/{group}/{measure}"],
        [(0.0, BASELINE), *doses], controls, aimed, (said["works"], said["broken_limit"], said["kl_limit"]),
    )  # fmt: skip


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    change = row["change"]
    return {
        "dose": row["dose"],
        "aimed at": _rate(row["aimed_at"]),
        "change from the baseline": "" if change is None else f"{_rate(change)}: {change['says']}",
        "random control": "" if row["control"] is None else _rate(row["control"]),
        "KL": " ".join(_ends(row["kl"], 1, ".3f")),
        "broken": _rate(row["broken"]),
        "works": "yes" if row["works"] else "no",
        "harm": row["harm"] or "none",
    }


def _rate(score: Mapping[str, Any]) -> str:
    return "{} % {}".format(*_ends(score, 100, ".0f"))


def _ends(score: Mapping[str, Any], times: int, spec: str) -> Iterator[str]:
    yield f"{times * score['value']:{spec}}"
    known = score["low"] is not None and score["high"] is not None
    yield f"[{times * score['low']:{spec}}, {times * score['high']:{spec}}]" if known else "[n=1]"
