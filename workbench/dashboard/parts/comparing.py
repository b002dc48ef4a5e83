"""Runs beside each other: their scores, what each changed from its own baseline, and how far they lie apart."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.recorded import BASELINE, CONTROLS, Recorded, apart
from workbench.dashboard.parts.scores import conditions_of, is_share, split
from workbench.errors import WorkbenchError
from workbench.plots.compared import compared_figure, grouped_figure
from workbench.statistics import Score

MOST = 6  # runs at once: as many as there are colours
_FIRST = "harmful/refusal"
_WAYS = ("scores", "change from baseline", "difference of runs")
_PYTHON = """from pathlib import Path

from workbench.runs import RunFolder

for name in {names!r}:
    run = RunFolder.open(Path({root!r}) / name)
    for score in run.manifest.scores:
        if score.name.endswith({measure!r}):
            print(name, score.name, score)"""
Runs = Mapping[str, Recorded]


def comparison(runs: Runs) -> None:
    """Two or more runs by one measure; every condition is a row."""
    names = st.multiselect(
        "Runs", list(runs), default=_first(runs), max_selections=MOST, key="run_compared", **KEPT
    )  # fmt: skip
    chosen = {name: runs[name] for name in names if name in runs}
    if not chosen:
        st.info("Choose runs to compare.")
        return
    measures = measures_of(chosen)
    measure = st.selectbox("Measure", measures, key="run_measure", **KEPT) or measures[0]
    way = st.segmented_control("As", _WAYS, default=_WAYS[0], required=True, key="run_way", **KEPT) or _WAYS[0]
    try:
        _drawn(chosen, measure, way)
    except WorkbenchError as error:
        st.error(plain(error))


def _first(runs: Runs) -> list[str]:
    """The newest two that measured refusals, or the newest two of any kind."""
    measured = [name for name, run in runs.items() if any(split(each)[1] == _FIRST for each in run.scores)]
    return (measured or list(runs))[:2]


def measures_of(runs: Runs) -> list[str]:
    """The measures that any of the runs has, refusal of harmful prompts first, then those of more runs."""
    count: dict[str, int] = {}
    for run in runs.values():
        for measure in dict.fromkeys(split(name)[1] for name in run.scores):
            count[measure] = count.get(measure, 0) + 1
    return sorted(count, key=lambda measure: (measure != _FIRST, "@" in measure, -count[measure]))


def _drawn(runs: Runs, measure: str, way: str) -> None:
    found, table = _series(runs, measure, way)
    rows = list(dict.fromkeys(name for scores in found.values() for name in scores))
    if not rows:
        st.info("These runs have nothing to hold against each other here; choose another measure or way.")
        return
    series = {name: [scores.get(row) for row in rows] for name, scores in found.items()}
    unit = "%" if is_share(measure) else "as measured"
    axis = f"{measure}: {way} ({'points' if is_share(measure) and way != _WAYS[0] else unit})"
    figure = compared_figure(
        [row or "chosen" for row in rows], series, axis, percent=is_share(measure), zero=way != _WAYS[0]
    )  # fmt: skip
    alt = f"{way.capitalize()} of {measure} for {len(runs)} runs in {len(rows)} conditions, with 95 % intervals."
    root = str(next(iter(runs.values())).path.parent)
    python = _PYTHON.format(names=list(runs), root=root, measure=f"/{measure}")
    command = "\n".join(f"workbench runs show {run.path}" for run in runs.values())
    shown(figure, table, "compared", alt, command=command, python=python)
    if way == _WAYS[2]:
        st.caption(
            "The run chosen first is what the others are held against. Where both asked the same items, the difference "
            "is paired, and its p value corrected by Holm over the conditions; elsewhere two intervals are put "
            "together."
        )


def _series(runs: Runs, measure: str, way: str) -> tuple[dict[str, dict[str, Score]], pd.DataFrame]:
    """For each run the score of each condition, and the same as a table."""
    found: dict[str, dict[str, Score]] = {}
    rows: list[dict[str, object]] = []
    first = next(iter(runs.values()))
    for name, run in runs.items():
        more: dict[str, dict[str, object]] = {}
        if way == _WAYS[0]:
            scores = {c: s for (c, m), s in _split(run) if m == measure}
        elif way == _WAYS[1]:
            changes = {c: d for n, d in run.changes().items() for c, m in [split(n)] if m == measure}
            scores = {c: Score(name=c, value=d.value, low=d.low, high=d.high, n=d.n) for c, d in changes.items()}
            more = {c: {"p (Holm)": d.adjusted, "test": d.test, "says": d.says} for c, d in changes.items()}
        else:
            gaps = {} if run is first else apart(first, run, measure)
            scores = {c: gap.score for c, gap in gaps.items()}
            more = {c: {"p (Holm)": g.paired and g.paired.adjusted, "how": g.how} for c, g in gaps.items()}
        if scores or way == _WAYS[0]:
            found[name] = scores
        rows += [
            {"run": name, "condition": c, "measure": measure} | s.model_dump(exclude={"name"}) | more.get(c, {})
            for c, s in scores.items()
        ]
    return found, pd.DataFrame(rows)


def _split(run: Recorded) -> list[tuple[tuple[str, str], Score]]:
    return [(split(name), score) for name, score in run.scores.items()]


def trade_off(runs: Runs) -> None:
    """Conditions of all runs as points on two measures."""
    measures = measures_of(runs)
    shares = [measure for measure in measures if is_share(measure) and "@" not in measure]
    costs = [measure for measure in measures if measure.endswith("kl")]
    if not shares:
        st.info("None of these runs has judged replies; `workbench demo` and `workbench evaluate` make such.")
        return
    left, right = st.columns(2)
    with left:
        across = [m for m in ("harmless/refusal", *costs, *shares) if m in measures]
        x = st.selectbox("Across", list(dict.fromkeys(across)), key="run_x", **KEPT) or across[0]
    with right:
        y = st.selectbox("Up", shares, key="run_y", **KEPT) or shares[0]
    _points(runs, x, y)


def _points(runs: Runs, x: str, y: str) -> None:
    groups, rows = {}, []
    for name, run in runs.items():
        held = run.scores
        points = [
            (c, held[f"{c}/{x}"], held[f"{c}/{y}"])
            for c in conditions_of(held)
            if f"{c}/{x}" in held and f"{c}/{y}" in held
        ]
        if points:
            groups[name] = points
        rows += [_point(name, c, {x: one, y: two}) for c, one, two in points]
    if not groups:
        st.info("None of these runs measured both; choose other measures.")
        return
    controls = {row["condition"] for row in rows if str(row["condition"]).startswith(CONTROLS)}
    units = ["%" if is_share(measure) else "nats" for measure in (x, y)]
    figure = grouped_figure(
        groups, f"{x} ({units[0]})", f"{y} ({units[1]})", percent=(is_share(x), is_share(y)), baseline=BASELINE,
        controls=[str(name) for name in controls],
    )  # fmt: skip
    alt = f"{y} against {x}: {len(rows)} conditions of {len(groups)} runs, with 95 % intervals on both axes."
    shown(figure, pd.DataFrame(rows), "run-tradeoff", alt, command="workbench runs list")
    st.caption("One colour a run. Diamonds are baselines, hollow points are controls; point at one for its condition.")


def _point(run: str, condition: str, scores: Mapping[str, Score]) -> dict[str, object]:
    row: dict[str, object] = {"run": run, "condition": condition}
    for measure, score in scores.items():
        row |= {measure: score.value, f"{measure} low": score.low, f"{measure} high": score.high, "n": score.n}
    return row
