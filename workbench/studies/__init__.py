"""Many of the rooms below, put together to answer one question."""

from workbench.studies.attacks import record_attacks
from workbench.studies.demonstration import Parts, demonstrate
from workbench.studies.dose import Dose, DoseSettings, record_dose, rederive_dose
from workbench.studies.identifiability import Card, identify, record_card, rederive_card
from workbench.studies.minimise import MinimiseSettings, minimise, record_minimise, rederive_minimise
from workbench.studies.sweep import Grid, record_sweep, rederive_sweep, sweep

__all__ = [
    "Card",
    "Dose",
    "DoseSettings",
    "Grid",
    "MinimiseSettings",
    "Parts",
    "demonstrate",
    "identify",
    "minimise",
    "record_attacks",
    "record_card",
    "record_dose",
    "record_minimise",
    "record_sweep",
    "rederive_card",
    "rederive_dose",
    "rederive_minimise",
    "rederive_sweep",
    "sweep",
]
