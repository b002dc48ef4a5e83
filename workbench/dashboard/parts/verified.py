"""The verification of a run as a button: what `workbench runs verify` says, on the page."""

from typing import TYPE_CHECKING

import streamlit as st

from workbench.dashboard.parts.recorded import Recorded
from workbench.dashboard.parts.work import job_of

if TYPE_CHECKING:
    pass


def verified(run: Recorded) -> None:
    """The button, and below it what was found."""
    st.markdown("**Verify**: every file as recorded, replies judged again, every score derived again.")
    st.code(f"workbench runs verify {run.path}", language="bash", wrap_lines=True)
    faults = job_of(f"verify-{run.name}", "Verify", "Verifying a run", lambda subject, job: _verify(run))
    if faults is None:
        return
    if faults:
        st.error("It does not verify.", icon=":material/error:")
        for fault in faults:
            st.text(fault)
    else:
        files = len(run.manifest.artefacts)
        st.success(
            f"Verified: {files} files as recorded, and every score comes out of them again.",
            icon=":material/verified:",
        )


def _verify(run: Recorded) -> list[str]:
    from workbench.runs import RunFolder
    from workbench.studies.verifying import verify_run

    return verify_run(RunFolder.open(run.path))
