"""How sure a direction is: what it would have been with other prompts, other sets and other templates."""

from workbench.studies.identifiability.card import Card
from workbench.studies.identifiability.identify import identify, rederive_card
from workbench.studies.identifiability.recording import record_card

__all__ = ["Card", "identify", "record_card", "rederive_card"]
