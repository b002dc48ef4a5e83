"""Which attacks does the embedded model give way to, and does adding refusal defend it?

    python -m experiments.attacks OUT DIRECTION [N] [MODEL]       DIRECTION: a `find` run, or its file

Every attack of `workbench.studies.attacks` on every recipe, on N built-in test prompts of each kind.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.directions import Direction
from workbench.models import open_model
from workbench.prompts import ContrastPairs, builtin_pairs
from workbench.runs import reporting, rich_reporter
from workbench.statistics import Score
from workbench.studies import record_attacks

N = 24
COLUMNS = (("harmful", "refusal"), ("harmful", "compliance"), ("harmful", "broken"), ("harmless", "refusal"))


def main(arguments: Sequence[str]) -> None:
    """Attack, into the run folder OUT; the tables go to stdout."""
    out, direction, n = Path(arguments[0]), Path(arguments[1]), int(arguments[2]) if len(arguments) > 2 else N
    test = builtin_pairs("test")
    asked = ContrastPairs(test.positive.sample(n), test.negative.sample(n))
    with rich_reporter() as reporter, reporting(reporter):
        subject = open_model(arguments[3] if len(arguments) > 3 else "qwen2.5-coder-0.5b-instruct")
        folder = record_attacks(subject, Direction.load(direction), asked, out=out)
    scores = {score.name: score for score in folder.manifest.scores}
    for condition in folder.results()["grid"]:
        cells = [scores[f"{condition}/{asked}/{measure}"] for asked, measure in COLUMNS]
        sys.stdout.write(f"{condition:<32}" + "".join(f"{_percent(each):>24}" for each in cells) + "\n")


def _percent(score: Score) -> str:
    return f"{100 * score.value:.0f} % [{100 * (score.low or 0.0):.0f}, {100 * (score.high or 0.0):.0f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
