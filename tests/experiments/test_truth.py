"""The experiment on truth, on a tiny model: every part runs, and nothing is chosen on what is reported."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import truth as experiment
from probes.truth import Push, Statements, builtin_statements
from workbench.evaluation.truthful import TruthfulQuestion
from workbench.models import Subject
from workbench.runs import write_json

QUESTIONS = [
    TruthfulQuestion(f"What is {n}?", "One", ("Two",), ("One", f"No {n}"), ("Two", f"A {n}")) for n in range(20)
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Statements:
    """Four topics, four facts of each, and few questions."""
    every = builtin_statements()
    facts = {each.pair for each in every if int(each.pair.split("/")[1]) < 4}
    kept = Statements(tuple(each for each in every.of_topics(every.topics[:4]) if each.pair in facts))
    monkeypatch.setattr(experiment, "builtin_statements", lambda: kept)
    for name, value in {"N_TEST": 10, "N_CHOICES": 4, "N_CHOOSING": 3, "DEPTHS": (0.34, 0.5, 0.67, 1.0)}.items():
        monkeypatch.setattr(experiment, name, value)
    monkeypatch.setattr(experiment, "SIGNED", (-1.0, 1.0))
    return kept


def test_every_part_runs_and_what_it_found_is_plain_values(
    long_llama: Subject, tmp_path: Path, few: Statements
) -> None:
    found = {}
    for part in ("read", "statements", "items", "reports", "choices"):
        run = experiment.PARTS.get(part)
        found[part] = run(long_llama, tmp_path, QUESTIONS) if run else experiment.on_statements(tmp_path)
        write_json(tmp_path / f"{part}.json", found[part])
        assert json.loads((tmp_path / f"{part}.json").read_text(encoding="utf-8"))["says"]
    assert {file.name for file in tmp_path.glob("*.html")} == {
        "truth.html",
        "polarity.html",
        "report.html",
        "items.html",
    }
    assert found["statements"]["truth"]["quality"]["topics"] == 4
    assert {row["n"] for row in found["items"]["rows"]} == {10}
    assert [each["differences"][0]["n"] for each in found["reports"]["moved"]] == [16, 8, 8] * 2
    assert found["choices"]["moved"][0]["scores"]["no edit"]["n"] == 4


def test_what_chooses_is_not_what_is_reported(
    long_llama: Subject, tmp_path: Path, few: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    chose: list[object] = []
    told: list[object] = []
    monkeypatch.setattr(experiment, "yes", lambda subject, statements: statements)
    monkeypatch.setattr(experiment, "ordered", lambda subject, questions: tuple(questions))
    monkeypatch.setattr(experiment, "described", lambda *found: {})

    def choose(measured: object, directions: object, *rest: object) -> tuple[object, tuple[()]]:
        chose.append((measured, directions))
        return Push(directions[0], 1.0, 0.0), ()  # type: ignore[index]

    def report(name: str, subject: Subject, measured: object, push: object, asked: object) -> object:
        told.append(measured)
        return type("M", (), {"of": lambda self, rows, name: self})()

    monkeypatch.setattr(experiment, "chosen_push", choose)
    monkeypatch.setattr(experiment, "pushed", report)
    experiment.read(long_llama, tmp_path, QUESTIONS)
    experiment.on_reports(long_llama, tmp_path, QUESTIONS)
    experiment.on_choices(long_llama, tmp_path, QUESTIONS)
    (fitted, directions), (choosing, _) = chose
    assert not set(fitted.topics) & set(told[0].topics)  # type: ignore[attr-defined]
    unseen = {prompt.digest for prompt in told[0].said()}  # type: ignore[attr-defined]
    assert not unseen & directions[0].seen  # type: ignore[index]
    assert not {q.key for q in choosing} & {q.key for q in experiment.drawn(QUESTIONS)[:10]}  # type: ignore[attr-defined]
    assert {q.key for q in told[-1]} <= {q.key for q in experiment.drawn(QUESTIONS)[:10]}  # type: ignore[attr-defined]


def test_answers_are_ordered_by_the_mean_of_their_tokens(long_llama: Subject) -> None:
    from probes.truth.items import answer_logprobs, measure
    from workbench.interventions import Recipe

    found = experiment.ordered(long_llama, QUESTIONS[:3])(Recipe())
    slow = [
        measure("pairwise", question, [float(np.mean(tokens)) for tokens in answers])
        for question, answers in zip(QUESTIONS, answer_logprobs(long_llama, QUESTIONS[:3]), strict=False)
    ]
    assert list(found) == slow
