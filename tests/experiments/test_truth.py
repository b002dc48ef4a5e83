"""The experiment on truth, on a tiny model: nothing is chosen on what is reported, and what is there is kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import truth
from experiments.experiment import run_experiment, settings_of
from experiments.truth import Settings, moving, reading
from probes.truth import Push
from tests.experiments.small import Bench
from tests.experiments.small.truth import settings as smallest
from workbench.errors import UsageError, WorkbenchError
from workbench.evaluation.truthful import TruthfulQuestion
from workbench.models import Subject

Made = Callable[..., Settings]


@pytest.fixture
def small(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The settings at their smallest, with changes."""
    given = smallest(Bench(tiny_folders, tmp_path / "needed", monkeypatch))
    return lambda **changes: settings_of("truth", changes=given | changes)  # type: ignore[return-value]


def keys(questions: Sequence[TruthfulQuestion]) -> set[str]:
    return {question.key for question in questions}


def test_what_chooses_is_not_what_is_reported(
    llama: Subject, small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chose: list[Any] = []
    told: list[Any] = []
    monkeypatch.setattr(moving, "yes", lambda subject, statements: statements)
    monkeypatch.setattr(moving, "ordered", lambda subject, questions: questions)
    monkeypatch.setattr(moving, "described", lambda *found: {})

    def choose(measured: Any, directions: Any, strengths: Any) -> tuple[Push, tuple[()]]:
        chose.append((measured, directions))
        return Push(directions[0], strengths[0], 0.0), ()

    def report(name: str, subject: Subject, measured: Any, push: Push, asked: object) -> object:
        told.append((measured, push.strength))
        return type("M", (), {"of": lambda self, rows, name: self})()

    monkeypatch.setattr(moving, "chosen_push", choose)
    monkeypatch.setattr(moving, "pushed", report)
    settings = small(n_choices=100)  # more than there are to test
    reading.read(llama, tmp_path)
    moving.on_reports(llama, tmp_path, (2.0,))
    moving.on_choices(llama, tmp_path, settings.tested, settings.choosing, (-1.0,))
    (fitted, directions), (choosing, _) = chose
    (plus, minus, (questions, _)) = told
    assert not set(fitted.topics) & set(plus[0].topics)
    assert (plus[0], plus[1], minus[1]) == (minus[0], 2.0, -2.0)
    assert not {prompt.digest for prompt in plus[0].said()} & directions[0].seen
    assert len(keys(choosing)) == 3
    assert len(keys(questions)) == 8
    assert not keys(choosing) & keys(questions)


def test_questions_that_choose_are_none_that_are_tested(small: Made) -> None:
    settings = small()
    assert (len(keys(settings.tested)), len(keys(settings.choosing))) == (8, 3)
    assert not keys(settings.tested) & keys(settings.choosing)
    assert settings.digests() == small(n_test=9).digests()
    with pytest.raises(UsageError, match="holds 12 questions, and 10 to test and 3 to choose by are asked for"):
        small(n_test=10).digests()


def test_answers_are_ordered_by_the_mean_of_their_tokens(llama: Subject, small: Made) -> None:
    from probes.truth.items import answer_logprobs, measure
    from workbench.interventions import Recipe

    asked = small().tested[:3]
    found = moving.ordered(llama, asked)(Recipe())
    slow = [
        measure("pairwise", question, [float(np.mean(tokens)) for tokens in answers])
        for question, answers in zip(asked, answer_logprobs(llama, asked), strict=True)
    ]
    assert list(found) == slow


def test_the_values_of_a_way_of_scoring_are_a_rate_where_all_are_yes_or_no() -> None:
    assert reading.valued("a", [1.0, 0.0, 1.0])["kind"] == "rate"
    assert reading.valued("a", [1.0, 0.5, 1.0])["kind"] == "mean"


def test_the_same_command_goes_on_where_it_stopped_and_logits_are_read_in_float32(
    small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answers(name: str) -> Callable[..., dict[str, Any]]:
        def part(given: object, *rest: object) -> dict[str, Any]:
            asked.append(f"{name} in {given}" if isinstance(given, str) else name)
            return {}

        return part

    def read(given: object, out: Path) -> None:
        answers("read")(given)
        (out / truth.READ).touch()

    def stops(*given: object) -> dict[str, Any]:
        raise WorkbenchError("stopped")

    monkeypatch.setattr(truth, "open_model", lambda model, dtype: dtype)
    monkeypatch.setattr(truth, "read", read)
    for name in ("on_statements", "on_items"):
        monkeypatch.setattr(truth, name, answers(name))
    for name, again in (("on_reports", []), ("on_choices", ["on_reports in float32"])):
        monkeypatch.setattr(truth, name, stops)
        with pytest.raises(WorkbenchError, match="stopped"):
            run_experiment("truth", small(), tmp_path / "r")
        assert asked == ["read in float32", "on_statements", "on_items", *again]
        monkeypatch.setattr(truth, name, answers(name))
