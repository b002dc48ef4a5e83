"""Does the phrase judge reproduce the labels that Arditi et al. published with their runs?

    python -m experiments.judging.published FOLDER

FOLDER is a checkout of the paper's repository, whose `pipeline/runs/*/completions/*_evaluations.json` hold completions
with their substring-matching labels. Nothing of them is kept.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.evaluation.judges.phrase import refuses

LABEL = "is_jailbreak_substring_matching"


def differing(folder: Path) -> tuple[int, int]:
    """How many labelled completions there are, and how many the phrase judge calls otherwise."""
    files = sorted(folder.glob("pipeline/runs/*/completions/*_evaluations.json"))
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["completions"]]
    labelled = [row for row in rows if row.get(LABEL) is not None]
    return len(labelled), sum(bool(row[LABEL]) == refuses(row["response"]) for row in labelled)


def main(arguments: Sequence[str]) -> None:
    """Count and print."""
    n, wrong = differing(Path(arguments[0]))
    sys.stdout.write(f"{n} published labels, {wrong} of them called otherwise\n")


if __name__ == "__main__":
    main(sys.argv[1:])
