"""Many of the rooms below, put together to answer one question."""

from workbench.studies.carding import record_card
from workbench.studies.demonstration import demonstrate
from workbench.studies.identifiability import Card, identify, rederive_card

__all__ = ["Card", "demonstrate", "identify", "record_card", "rederive_card"]
