"""The one engine of this server, its state in the sidebar, and whose job is whose."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.dashboard.engine import Engine, Job
from workbench.dashboard.parts.present import plain

if TYPE_CHECKING:
    from workbench.models import Subject


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The engine. It begins to open the model when the first page is drawn, or when the first job comes."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    return Engine(name or "MODEL", lambda: opened(name))  # as the commands write one that is not said


def opened(name: str | None) -> "Subject":
    """Open a model, or the embedded one; called in the engine's thread, so that torch is imported there."""
    from workbench.models import open_model
    from workbench.models.catalog import DEFAULT_MODEL

    return open_model(name or DEFAULT_MODEL)


def owner() -> str:
    """Which session this is."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    return "" if context is None else context.session_id


def here() -> Callable[[], bool]:
    """Whether the browser of this session is still connected, asked from any thread."""
    session, runtime = owner(), st.runtime
    return lambda: not runtime.exists() or runtime.get_instance().is_active_session(session)


def submit(title: str, work: "Callable[[Subject, Job], Any]") -> Job:
    """Queue a job of this session."""
    return engine().start().submit(owner(), title, work, here())


def status() -> None:
    """What the model is at."""
    if engine().opening.ended and not engine().dead:
        _said()
    else:
        _watched()


@st.fragment(run_every=0.5)
def _watched() -> None:
    _said()
    if engine().opening.ended and not engine().dead:
        st.rerun()


def _said() -> None:
    made = engine()
    if made.dead:
        st.error("The model's thread has stopped. What waits is kept.", icon=":material/error:")
        if st.button("Start it again", icon=":material/restart_alt:", key="restart"):
            made.restart()
            st.rerun()
    elif made.opening.state == "failed":
        st.error(plain(made.opening.error), icon=":material/error:")
    elif made.subject is None:
        show_progress(made.opening)
    else:
        subject = made.subject
        st.caption(
            f":material/check_circle: **{subject.name}**  \n{subject.n_layers} layers x {subject.d_model}, ready"
        )


def show_progress(job: Job) -> None:
    """How far a job is, or how many stand before it."""
    ahead = engine().ahead(job)
    if job.state == "waiting" and ahead:
        st.progress(0.0, f"{job.title}: {ahead} before you")
    elif not job.ended:
        at = job.progress
        said = f"{job.title}: {at.description}" if at else job.title
        st.progress(0.0 if at is None or at.share is None else at.share, said)
