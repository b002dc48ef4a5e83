import csv
from pathlib import Path
from typing import Any

from experiments.truth import moving, reading
from probes.truth import Statements, builtin_statements
from tests.experiments.small import Bench

COLUMNS = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
FEW = {"n_test": 8, "n_choices": 4, "n_choosing": 3, "strengths": [2.0], "signed": [-1.0, 1.0]}


def settings(bench: Bench) -> dict[str, Any]:
    for module in (moving, reading):
        bench.patch.setattr(module, "builtin_statements", few_statements)
    bench.patch.setattr(moving, "DEPTHS", (0.5, 1.0))
    return FEW | {"model": bench.model, "questions": str(written(bench.scratch / "TruthfulQA.csv"))}


def few_statements() -> Statements:
    """Three topics, two facts of each."""
    every = builtin_statements()
    facts = {each.pair for each in every if int(each.pair.split("/")[1]) < 2}
    return Statements(tuple(each for each in every.of_topics(every.topics[:3]) if each.pair in facts))


def written(file: Path) -> Path:
    """Questions as they were published as CSV."""
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(COLUMNS)
        rows.writerows((f"What is {n}?", "One", f"One; No {n}", f"Two; A {n}") for n in range(12))
    return file
