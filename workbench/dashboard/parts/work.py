"""A job of a page: the button that starts it, its progress with a way to stop it, and what it found."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.dashboard.engine import Job
from workbench.dashboard.parts.engine import show_progress, submit
from workbench.dashboard.parts.present import plain, sentence

if TYPE_CHECKING:
    from workbench.models import Subject

_TICK = 0.5


def job_of(key: str, label: str, title: str, work: "Callable[[Subject, Job], Any]", *, disabled: bool = False) -> Any:
    """The result of the session's last job under `key`, or None; `label` is the button's that starts one.

    `work` runs in the model's thread and may use `track` and `note`, which the page shows. What it returns is kept with
    the session, so it holds no tensors: a figure, a table, plain values.
    """
    job: Job | None = st.session_state.get(f"job-{key}")
    running = job is not None and not job.ended
    if st.button(label, key=f"start-{key}", type="primary", disabled=disabled or running):
        with sentence():
            st.session_state[f"job-{key}"] = submit(title, work)
            st.rerun()
    if job is None:
        return None
    if running:
        _watched(key)
        return None
    if job.state == "failed":
        st.error(plain(job.error))
    elif job.state == "cancelled":
        st.info("Stopped.")
    return job.result


def _watched(key: str) -> None:
    @st.fragment(run_every=_TICK)
    def growing() -> None:
        job: Job = st.session_state[f"job-{key}"]
        if job.ended:
            st.rerun()
        show_progress(job)
        for text in job.notes[-3:]:
            st.caption(plain(text))
        if st.button("Stop", icon=":material/stop_circle:", key=f"stop-{key}"):
            job.cancel()

    growing()
