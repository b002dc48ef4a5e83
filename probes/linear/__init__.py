"""Linear probes: fitted on topics, measured on others, and beside each the controls that know nothing."""

from probes.linear.method import Method
from probes.linear.probe import Probe, Quality
from probes.linear.settings import ProbeSettings
from probes.linear.sweep import ProbeSweep, sweep_probes
from probes.linear.training import Examples, fit_probe, train_probe

__all__ = [
    "Examples",
    "Method",
    "Probe",
    "ProbeSettings",
    "ProbeSweep",
    "Quality",
    "fit_probe",
    "sweep_probes",
    "train_probe",
]
