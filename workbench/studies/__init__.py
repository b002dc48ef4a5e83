"""Many of the rooms below, put together to answer one question."""

from workbench.studies.carding import record_card
from workbench.studies.demonstration import demonstrate
from workbench.studies.identifiability import Card, identify

__all__ = ["Card", "demonstrate", "identify", "record_card"]
