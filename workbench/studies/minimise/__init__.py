"""The weight edit with the least damage: by gradient, with its front, and Optuna's TPE as a second opinion."""

from workbench.studies.minimise.front import Front, Point
from workbench.studies.minimise.recording import Minimised, minimise, record_minimise, rederive_minimise
from workbench.studies.minimise.settings import MinimiseSettings

__all__ = [
    "Front",
    "MinimiseSettings",
    "Minimised",
    "Point",
    "minimise",
    "record_minimise",
    "rederive_minimise",
]
