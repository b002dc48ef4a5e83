"""A recipe's places filled in with every combination, and each measured: here, in processes, on a cluster."""

from workbench.studies.sweep.grid import Grid
from workbench.studies.sweep.recording import record_sweep, rederive_sweep
from workbench.studies.sweep.sweep import Swept, sweep

__all__ = ["Grid", "Swept", "record_sweep", "rederive_sweep", "sweep"]
