"""The audit's calibration, which its verdict reads: the limits and counts of an `audit-calibration` run.

python -m experiments.ship calibration RUN
"""

from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.runs import RunFolder

PLACE = Path(__file__).parents[2] / "workbench" / "weights" / "audit" / "data" / "calibration.json"


def distil(source: Path) -> dict[str, Any]:
    """The calibration as the run has summarised it. Raises RunError where it is a run of something else."""
    found = RunFolder.open(source).results()
    if "calibration" not in found:
        raise RunError(f"{source} calibrates nothing; give a run of `workbench experiment run audit-calibration`.")
    calibration: dict[str, Any] = found["calibration"]
    return calibration
