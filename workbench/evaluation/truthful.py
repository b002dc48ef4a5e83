"""The questions of TruthfulQA, in each layout that they were published in.

TruthfulQA.csv   Question, Best Answer, Correct Answers, Incorrect Answers (answers apart by ;), and more columns
mc_task.json     a list of questions, with mc1_targets and mc2_targets: answer -> 1 (true) or 0
*.jsonl          the same line by line, targets also as the hub has them: {"choices": [...], "labels": [...]}
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import PromptError
from workbench.runs import digest_json

HUB = "truthfulqa/truthful_qa"


@dataclass(frozen=True)
class TruthfulQuestion:
    """A question: the best answer and the `others` of MC1, the true and the false answers of MC2."""

    question: str
    best: str
    others: tuple[str, ...]
    true: tuple[str, ...]
    false: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (self.question and self.best and self.others and self.true and self.false):
            raise ValueError(f"{self.question!r} lacks a best, a true or a false answer")

    @property
    def answers(self) -> tuple[str, ...]:
        """Every answer, once."""
        return tuple(dict.fromkeys((self.best, *self.others, *self.true, *self.false)))

    @property
    def key(self) -> str:
        return digest_json([self.question, self.answers])[:16]


def read_truthful(file: Path) -> list[TruthfulQuestion]:
    """The questions in a file, told by its ending.

    Raises PromptError where there is none, or it is in no published layout.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = _from_csv(text) if file.suffix == ".csv" else _from_targets(_rows(text, file.suffix))
    except OSError as error:
        raise PromptError(f"TruthfulQA cannot be read from {file} ({type(error).__name__}); name a file.") from error
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise PromptError(
            f"{file} is not a published file of TruthfulQA ({error}); give TruthfulQA.csv, mc_task.json, or the hub's "
            "rows as .jsonl."
        ) from error
    if not found:
        raise PromptError(f"{file} holds no questions; give TruthfulQA.csv or mc_task.json.")
    return found


def from_hub(variable: str) -> list[TruthfulQuestion]:
    """The hub's set, from the cache of `datasets` or the network; `variable` names a file in its place."""
    import datasets

    try:
        rows = datasets.load_dataset(HUB, "multiple_choice", split="validation")
    except (OSError, ValueError, RuntimeError) as error:
        raise PromptError(
            f"TruthfulQA is not at hand ({HUB} could not be had: {type(error).__name__}); give TruthfulQA.csv or "
            f"mc_task.json in {variable}, or go online once."
        ) from error
    return _from_targets(rows)


def _rows(text: str, suffix: str) -> list[dict[str, Any]]:
    if suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return list(json.loads(text))


def _from_csv(text: str) -> list[TruthfulQuestion]:
    found = []
    for row in csv.DictReader(text.splitlines(keepends=True), strict=True):
        best, true, false = row["Best Answer"].strip(), _split(row["Correct Answers"]), _split(row["Incorrect Answers"])
        found.append(TruthfulQuestion(row["Question"].strip(), best, false, true, false))
    return found


def _split(answers: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(answer.strip() for answer in answers.split(";") if answer.strip()))


def _from_targets(rows: Iterable[Mapping[str, Any]]) -> list[TruthfulQuestion]:
    found = []
    for row in rows:
        first, second = _targets(row["mc1_targets"]), _targets(row["mc2_targets"])
        (best,), others = _parted(first)
        found.append(TruthfulQuestion(row["question"], best, others, *_parted(second)))
    return found


def _targets(value: Mapping[str, Any]) -> dict[str, int]:
    """Answers and whether they are true, in either form."""
    if set(value) == {"choices", "labels"}:
        return dict(zip(value["choices"], value["labels"], strict=True))
    return dict(value)


def _parted(targets: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The true answers and the false ones."""
    return tuple(a for a, true in targets.items() if true), tuple(a for a, true in targets.items() if not true)
