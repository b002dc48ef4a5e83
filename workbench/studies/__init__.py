"""Many of the rooms below, put together to answer one question."""

from workbench.studies.demonstration import demonstrate

__all__ = ["demonstrate"]
