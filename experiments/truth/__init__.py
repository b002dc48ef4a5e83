"""Does the model know what is true, does it say so, and does what it says follow the direction of truth?

1. `read`: our own statements, read after every second block, how likely each is, and the model's own answer to whether
   it is true. This and `reports` in float32: a logit of bfloat16 comes in eighths, and many differences are smaller.
2. `statements`, which needs no model: the direction of truth, measured on topics left out; what a direction fitted to
   "is" alone reads of "is not"; what is known and not said (`probes.truth`).
3. `items`: the same direction on questions of TruthfulQA, of a file in one of its published layouts.
4. `reports`: the difference in means of one half of the topics is added while the model is asked. Block and strength
   are those of the largest rise of log-odds(Yes) on that half; the other half is reported, also with the sign turned.
5. `choices`: the difference in means of all statements is added while the answers of TruthfulQA are read. Block and
   strength are chosen on questions that no other part reads; test questions are reported.

Each is kept in the run's folder as soon as it is there. Intervals over statements draw topics, so that these numbers
are results of their own and no scores.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.experiment import Answer, OneModel
from experiments.journal import journalled
from experiments.truth.moving import on_choices, on_reports
from experiments.truth.reading import READ, on_items, on_statements, read
from probes.truth.direction import TRUTH
from probes.truth.self_report import REPORT
from workbench.errors import UsageError
from workbench.evaluation.truthful import TruthfulQuestion, read_truthful
from workbench.models import Subject, open_model
from workbench.plots import Figure
from workbench.plots.truth import scores_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder, digest_json
from workbench.statistics import Score
from workbench.studies.parts import Valued

ROWS = "parts.jsonl"


class Settings(OneModel):
    """The questions, how many of them are read, and the strengths that are tried."""

    questions: Path
    n_test: int
    n_choices: int
    n_choosing: int
    strengths: tuple[float, ...]
    signed: tuple[float, ...]

    @cached_property
    def order(self) -> list[TruthfulQuestion]:
        """The questions in an order of their own: the first are tested, those after them choose."""
        found = read_truthful(self.questions)
        if len(found) < self.n_test + self.n_choosing:
            raise UsageError(
                f"{self.questions} holds {len(found)} questions, and {self.n_test} to test and {self.n_choosing} to "
                "choose by are asked for; make n_test or n_choosing smaller."
            )
        return [found[row] for row in np.random.default_rng(0).permutation(len(found))]

    @property
    def tested(self) -> list[TruthfulQuestion]:
        return self.order[: self.n_test]

    @property
    def choosing(self) -> list[TruthfulQuestion]:
        return self.order[self.n_test :][: self.n_choosing]

    def digests(self) -> dict[str, str]:
        return {"questions": digest_json([vars(question) for question in self.order])}

    def exact(self) -> Subject:
        """The model in float32."""
        return open_model(self.model, dtype="float32")


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """What the model makes of the statements; then the parts, of which each is kept as it is there."""
    out = folder.path
    if not (out / READ).exists():
        read(settings.exact(), out)
    parts = {
        "statements": lambda: on_statements(out),
        "items": lambda: on_items(settings.subject, out, settings.tested),
        "reports": lambda: on_reports(settings.exact(), out, settings.strengths),
        "choices": lambda: on_choices(
            settings.subject, out, settings.tested[: settings.n_choices], settings.choosing, settings.signed
        ),
    }
    rows = journalled(out / ROWS, parts, "Truth")
    return Answer(
        line=told(rows),
        figure=drawn(rows["statements"]),
        results={name: {key: each for key, each in row.items() if key != "values"} for name, row in rows.items()},
        values=tuple(Valued.model_validate(each) for row in rows.values() for each in row["values"]),
    )


def told(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What is known, what is said of it, and what either does when the direction is added."""
    statements, moved = rows["statements"], [rows[part]["moved"][0] for part in ("reports", "choices")]
    return "; ".join(each["says"] for each in (statements["truth"], statements["report"], rows["items"], *moved))


def drawn(statements: Mapping[str, Any]) -> Figure:
    """What the direction reads and what the model says, beside what knows nothing of truth."""
    quality, report = statements["truth"]["quality"], statements["report"]["auroc"][REPORT]
    scores = {TRUTH: quality["auroc"], REPORT: report} | quality["controls"]
    return scores_figure(
        {name: Score.model_validate(each) for name, each in scores.items()}, "AUROC on topics left out", 0.5
    )
