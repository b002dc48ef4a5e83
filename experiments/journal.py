"""What an experiment has measured is kept as it is measured, so that the same command goes on after a stop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.runs import track
from workbench.runs.files import append_line, read_lines

Row = Mapping[str, Any]


def journalled(file: Path, cases: Mapping[str, Callable[[], Row]], doing: str) -> dict[str, Row]:
    """A row for each case, in their order; a case that `file` holds is not measured again.

    `doing` names the progress bar. Rows are JSON, a line each, with their case.
    """
    done = {row["case"] for row in read_lines(file)}
    for case, measure in track(list(cases.items()), doing):
        if case not in done:
            append_line(file, {"case": case, **measure()})
    held = {row["case"]: row for row in read_lines(file)}
    return {case: held[case] for case in cases}
