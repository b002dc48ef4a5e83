"""How much of an edit is enough, and how much too much: one control of a recipe, turned through its doses."""

from workbench.studies.dose.dose import Dose
from workbench.studies.dose.recording import record_dose, rederive_dose
from workbench.studies.dose.settings import DoseSettings

__all__ = ["Dose", "DoseSettings", "record_dose", "rederive_dose"]
