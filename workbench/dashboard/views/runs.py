"""Runs: what was done here, what came out, how runs compare, and the command that makes each of them again.

A run is named by its folder below the runs' root; a name is only ever looked up among those that are listed there.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from workbench.dashboard.parts.comparing import comparison, trade_off
from workbench.dashboard.parts.present import copied, plain, shown, to_csv
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.recorded import Recorded
from workbench.dashboard.parts.replied import samples
from workbench.dashboard.parts.run_again import command_of, python_of
from workbench.dashboard.parts.scores import refusals, scores_table
from workbench.dashboard.parts.verified import verified
from workbench.errors import WorkbenchError
from workbench.runs import RunFolder, digest_json
from workbench.runs.folder import survey_runs

_SHOWN = ("scores", "replies", "verify and repeat")
_TABLE_HEIGHT = 320


def show() -> None:
    """The page."""
    st.title("Runs", anchor=False)
    st.caption("Every command that measures writes a run: settings, digests of model and data, replies, scores.")
    readable, unreadable = survey_runs()
    every = [Recorded(run.path, run.manifest) for run in reversed(readable)]
    if every:
        _listed(_filtered(every))
    elif not unreadable:
        st.info("There are no runs here yet; `workbench demo` makes one, and so do the pages Build and Export.")
    _unreadable(unreadable)


def _filtered(every: Sequence[Recorded]) -> list[Recorded]:
    commands = list(dict.fromkeys(run.manifest.command for run in every))
    chosen = st.pills("Commands", commands, selection_mode="multi", key="run_commands", **KEPT)
    return [run for run in every if not chosen or run.manifest.command in chosen]


def _listed(runs: Sequence[Recorded]) -> None:
    table = pd.DataFrame([_row(run) for run in runs])
    alt = f"Table of {len(runs)} runs, newest first: command, model, state, start, seconds, n, scores."
    st.dataframe(table, hide_index=True, key="runs-table", height=_TABLE_HEIGHT if len(runs) > 8 else "auto", alt=alt)
    st.download_button(
        "CSV", to_csv(table), "runs.csv", "text/csv", key="runs-csv", icon=":material/download:", on_click="ignore"
    )
    measured = {run.name: run for run in runs if run.scores}
    if measured:
        st.subheader("Compare", anchor=False)
        comparison(measured)
        st.subheader("Trade-off over runs", anchor=False)
        trade_off(measured)
    st.subheader("One run", anchor=False)
    _one({run.name: run for run in runs})


def _row(run: Recorded) -> dict[str, object]:
    said = run.manifest
    return {
        "run": run.name,
        "command": said.command,
        "model": said.model.get("name", ""),
        "state": RunFolder(run.path, said).state,
        "started": said.started.replace("T", " ").removesuffix("+00:00"),
        "seconds": round(sum(said.timings.values()), 1),
        "n": max((score.n for score in said.scores), default=0),
        "scores": len(said.scores),
    }


def _unreadable(unreadable: Mapping[str, str]) -> None:
    if unreadable:
        st.warning("Some folders here cannot be read as runs.", icon=":material/folder_off:")
        for name, why in unreadable.items():
            st.text(f"{name}: {why}")


def _one(runs: Mapping[str, Recorded]) -> None:
    name = st.selectbox("Run", list(runs), key="run", **KEPT)
    part = st.segmented_control("Show", _SHOWN, default=_SHOWN[0], required=True, key="run_part", **KEPT)
    run = runs.get(name or "")
    if run is None:
        return
    try:
        {"scores": _scores, "replies": samples, "verify and repeat": _again}[part or _SHOWN[0]](run)
    except WorkbenchError as error:
        st.error(plain(error))


def _scores(run: Recorded) -> None:
    if not run.scores:
        st.info("This run has no scores yet; run its command again, and it goes on where it was.")
        return
    table = scores_table(run.scores, run.changes())
    if any(name.endswith("/refusal") for name in run.scores):
        alt = f"Refusals by condition and set in the run {run.name}, with 95 % intervals and n."
        shown(refusals(run.scores), table, "run-scores", alt, command=_show(run), python=python_of(run.path))
    else:
        st.dataframe(table, hide_index=True, key="run-scores-table", alt=f"Scores of the run {run.name}.")
        st.download_button("CSV", to_csv(table), "scores.csv", "text/csv", key="run-scores-csv", on_click="ignore")
        copied(_show(run), python_of(run.path))


def _show(run: Recorded) -> str:
    return f"workbench runs show {run.path}"


def _again(run: Recorded) -> None:
    verified(run)
    command = command_of(run.manifest, run.path)
    st.markdown("**The command that makes it again**")
    if command:
        st.code(command, language="bash", wrap_lines=True)
    else:
        st.info("No command makes such a run; a page or a script of the workbench does.")
    st.caption(
        "Prompt sets are the built-in ones unless others were given: the digests say which. The same settings, model "
        "and data are the same run, with the same identity."
    )
    said = run.manifest
    digests = {"identity": said.identity, **{f"model: {k}": v for k, v in said.model.items()}}
    digests |= {f"data: {name}": digest for name, digest in said.data.items()}
    digests |= {"settings": digest_json(said.settings)}
    left, right = st.columns(2)
    with left:
        _pairs("Settings", {name: str(value) for name, value in said.settings.items()}, "run-settings")
    with right:
        _pairs("Digests", digests, "run-digests")
        _pairs("Versions", said.versions, "run-versions")
        _pairs("Files", said.artefacts, "run-files")


def _pairs(title: str, pairs: Mapping[str, str], key: str) -> None:
    if pairs:
        table = pd.DataFrame({title.lower(): list(pairs), "value": list(pairs.values())})
        st.dataframe(table, hide_index=True, key=key, alt=f"{title} of the run.")
