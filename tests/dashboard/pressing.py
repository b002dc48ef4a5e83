"""What a visitor does on a page of `AppTest` and waits for."""

from streamlit.testing.v1 import AppTest

from workbench.dashboard.engine import Job
from workbench.dashboard.sources import Source
from workbench.runs import RunFolder


def ended(page: AppTest, key: str) -> Job:
    """Start a job by its button and wait for its end; the page is drawn again, and shows no traceback."""
    page.button(key=f"start-{key}").click().run()
    job: Job = page.session_state[f"job-{key}"]
    assert job.wait(120.0)
    page.run()
    assert not page.exception, page.exception
    return job


def worked(page: AppTest, key: str) -> Job:
    """`ended`, and the job did what it was asked."""
    job = ended(page, key)
    assert job.state == "done", job.error
    return job


def damage(page: AppTest, select: str, run: RunFolder) -> str:
    """The one sentence that a page says of a damaged run, chosen in a box."""
    page.selectbox(key=select).set_value(Source(run.path.name, run.path)).run()
    assert not page.exception, page.exception
    assert len(page.error) == 1
    said: str = page.error[0].value
    return said


def errors(page: AppTest) -> str:
    """All that the page says went wrong."""
    return " ".join(error.value for error in page.error)
