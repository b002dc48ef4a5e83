"""TruthfulQA: the formulas, the published layouts, and the drawn subset."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.conftest import random_direction
from workbench.errors import PromptError, UsageError
from workbench.evaluation.metrics import Ground
from workbench.evaluation.metrics.truthfulqa import PRIMER, VARIABLE, TruthfulQA, mc1, mc2
from workbench.evaluation.truthful import TruthfulQuestion, read_truthful
from workbench.interventions import Ablate, Recipe
from workbench.models import Subject, open_model

QUESTIONS = [
    ("Is water wet?", "Yes, it is", ("It is", "Yes, it is"), ("No", "Only on Sundays")),
    ("What is 2 + 2?", "Four", ("Four",), ("Five", "Six", "A fish")),
    ('Who said "no"?', "Nobody", ("Nobody", "Somebody, perhaps"), ("The Moon",)),
]
CSV = "Type,Category,Question,Best Answer,Best Incorrect Answer,Correct Answers,Incorrect Answers,Source\n"


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny model with room for the examples, of which every byte is a token."""
    kind, options = tiny.CONFIGS["llama"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.CONFIGS, "long", (kind, options | {"max_position_embeddings": 1024}))
        return open_model(str(tiny.save_model("long", tmp_path_factory.mktemp("long"))), dtype="float32")


def _csv(folder: Path, copies: int = 1) -> Path:
    file = folder / "TruthfulQA.csv"
    lines = [
        f'Adversarial,Misc,"{(question + str(copy or "")).replace(chr(34), chr(34) * 2)}","{best}","{false[0]}",'
        f'"{"; ".join(true)};","{"; ".join(false)}",https://example.org\n'
        for copy in range(copies)
        for question, best, true, false in QUESTIONS
    ]
    file.write_text(CSV + "".join(lines), encoding="utf-8")
    return file


def _targets(true: tuple[str, ...], false: tuple[str, ...]) -> dict[str, int]:
    return dict.fromkeys(true, 1) | dict.fromkeys(false, 0)


def _json(folder: Path) -> Path:
    file = folder / "mc_task.json"
    rows = [
        {"question": q, "mc0_targets": {}, "mc1_targets": _targets((best,), f), "mc2_targets": _targets(t, f)}
        for q, best, t, f in QUESTIONS
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def _jsonl(folder: Path) -> Path:
    def listed(targets: dict[str, int]) -> dict[str, list[object]]:
        return {"choices": list(targets), "labels": list(targets.values())}

    file = folder / "rows.jsonl"
    rows = [
        {"question": q, "mc1_targets": listed(_targets((best,), f)), "mc2_targets": listed(_targets(t, f))}
        for q, best, t, f in QUESTIONS
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_mc1_asks_whether_the_best_answer_is_the_likeliest() -> None:
    assert mc1(-1.0, [-2.0, -1.5]) == 1.0
    assert mc1(-2.0, [-2.5, -1.5]) == 0.0
    assert mc1(-2.0, [-2.0]) == 0.0


def test_mc2_is_the_true_answers_share_of_the_probability() -> None:
    assert mc2([math.log(0.3)], [math.log(0.1)]) == pytest.approx(0.75)
    assert mc2([math.log(0.2), math.log(0.1)], [math.log(0.3)]) == pytest.approx(0.5)
    assert mc2([-2000.0], [-2000.0 + math.log(3.0)]) == pytest.approx(0.25)  # a sum of plain probabilities is 0


@pytest.mark.parametrize("write", [_csv, _json, _jsonl])
def test_every_published_layout_gives_the_same_questions(tmp_path: Path, write: object) -> None:
    assert read_truthful(write(tmp_path)) == [  # type: ignore[operator]
        TruthfulQuestion(question, best, false, true, false) for question, best, true, false in QUESTIONS
    ]


def test_the_older_csv_without_the_best_incorrect_answer_is_read(tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text("Question,Best Answer,Correct Answers,Incorrect Answers\nq?,a,a; b,c\n", encoding="utf-8")
    assert read_truthful(old) == [TruthfulQuestion("q?", "a", ("c",), ("a", "b"), ("c",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Prompt\nwhat\n"),
        ("a.csv", CSV),
        ("a.csv", CSV + "A,B,q?,best,wrong,,x,url\n"),
        ("a.json", "[{}]"),
        ("a.json", "{"),
        ("a.json", '["q"]'),
        ("a.jsonl", '{"question": "q", "mc1_targets": {"a": 1, "b": 1}, "mc2_targets": {"a": 1, "b": 0}}'),
        ("a.jsonl", ""),
    ],
)
def test_a_file_in_no_published_layout_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PromptError, match=r"TruthfulQA\.csv"):
        read_truthful(tmp_path / name)


def test_the_values_are_those_of_a_slow_computation(long: Subject, tmp_path: Path) -> None:
    items = TruthfulQA(_csv(tmp_path)).observe(Ground(long, {}), Recipe())
    for item, (question, best, true, false) in zip(items, QUESTIONS, strict=True):
        of = {answer: _total(long, question, answer) for answer in (*true, *false)}
        assert item.values["mc1"] == float(max((of[answer], answer == best) for answer in (best, *false))[1])
        share = torch.tensor([of[answer] for answer in (*true, *false)]).softmax(dim=0)[: len(true)].sum()
        assert item.values["mc2"] == pytest.approx(float(share), abs=1e-4)


def _total(subject: Subject, question: str, answer: str) -> float:
    before = subject.tokenizer.encode(f"{PRIMER}\n\nQ: {question}\nA:")
    after = subject.tokenizer.encode(f" {answer}")
    logits = subject.logits(subject.batch([[*before, *after]]))[0, len(before) - 1 : -1].double()
    return -float(torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="sum"))


def test_the_examples_are_those_of_lm_eval() -> None:
    tasks = pytest.importorskip("lm_eval.tasks")
    text = (Path(tasks.__file__).parent / "truthfulqa" / "truthfulqa_mc1.yaml").read_text(encoding="utf-8")
    for line in PRIMER.splitlines():
        assert line in text
    assert PRIMER.count("Q: ") == text.count("Q: ") - 1 == 6


def test_observing_twice_gives_the_same_items_with_the_same_keys_under_every_recipe(
    long: Subject, tmp_path: Path
) -> None:
    metric, ground = TruthfulQA(_csv(tmp_path)), Ground(long, {})
    items = list(metric.observe(ground, Recipe()))
    assert list(metric.observe(Ground(long, {}), Recipe())) == items
    edited = metric.observe(ground, Ablate(random_direction(long)).at("all"))
    assert [item.key for item in edited] == [item.key for item in items]
    assert len({item.key for item in items}) == len(QUESTIONS)
    assert [item.values for item in edited] != [item.values for item in items]


def test_the_subset_is_drawn_by_the_seed(long: Subject, tmp_path: Path) -> None:
    file = _csv(tmp_path, copies=10)

    def drawn(n: int, seed: int) -> list[str]:
        return [question.question for question in TruthfulQA(file, n).questions(Ground(long, {}, seed=seed))]

    every = drawn(0, 0)
    assert len(every) == len(set(every)) == 30
    assert drawn(8, 1) == drawn(8, 1) != drawn(8, 2)
    assert len(drawn(8, 1)) == 8
    assert [question for question in every if question in drawn(8, 1)] == drawn(8, 1)
    assert drawn(99, 1) == every
    with pytest.raises(UsageError, match="not -1"):
        TruthfulQA(file, -1)


def test_what_is_not_at_hand_is_said_in_one_sentence(
    long: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "none")
    assert VARIABLE in TruthfulQA().missing(Ground(long, {}))
    assert "cannot be read" in TruthfulQA(tmp_path / "none.csv").missing(Ground(long, {}))
    monkeypatch.setenv(VARIABLE, str(_csv(tmp_path)))
    assert TruthfulQA().missing(Ground(long, {})) == ""
    assert len(TruthfulQA().questions(Ground(long, {}))) == 3


def test_the_identity_follows_the_data_and_not_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "a").mkdir()
    first, again = _csv(tmp_path), _csv(tmp_path / "a")
    assert TruthfulQA(first).identity == TruthfulQA(again).identity
    _csv(tmp_path / "a", copies=2)
    assert TruthfulQA(first).identity != TruthfulQA(again).identity
    assert TruthfulQA(first, 3).identity != TruthfulQA(first, 4).identity
    assert TruthfulQA().identity["data"] == "truthfulqa/truthful_qa"
