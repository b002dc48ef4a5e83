"""The engine: one thread that owns the model, and a queue of jobs for it."""

from workbench.dashboard.engine.jobs import Job, JobCancelled
from workbench.dashboard.engine.worker import Engine

__all__ = ["Engine", "Job", "JobCancelled"]
