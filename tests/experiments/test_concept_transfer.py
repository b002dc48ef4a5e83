"""Concepts in texts of other sources: which texts stand for which, and what an AUROC of planted scores is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments import concept_transfer as experiment
from experiments.concept_transfer import DEALT, READ, WORDS, Kind, auroc, bags_of_words, compared, harms, labels_dealt
from tests.concepts.planted import a_set
from workbench.prompts import Prompt, Prompts

KIND = Kind("topics", tuple(f"text {n}" for n in range(40)), ("rain", "wind") * 20)


def test_sayings_of_a_fit_length_are_drawn_and_each_stands_for_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "TOPICS", {"wet": "rain", "air": "wind"})
    monkeypatch.setattr(experiment, "LANGUAGES", {"tang300": "chinese"})
    long = " ".join(["word"] * 80)
    for file in ("wet", "air"):
        said = [f"{file} is what we  say\nof {n}" for n in range(12)]
        (tmp_path / file).write_text("\n%\n".join([*said, "too short", long]) + "\n")
    (tmp_path / "tang300").write_text("床前明月光\n%\n疑是地上霜\n")
    topics, languages = experiment.sayings(tmp_path, 11, 0)
    assert set(zip(topics.shows, (text.split()[0] for text in topics.texts), strict=True)) == {
        ("rain", "wet"), ("wind", "air"),
    }  # fmt: skip
    assert len(topics.texts) == len(set(topics.texts)) == 22
    assert {len(text.split()) for text in topics.texts} == {7}
    assert languages.shows.count("chinese") == 2
    assert languages.shows.count("english") == 20
    assert experiment.sayings(tmp_path, 11, 0).__next__() == topics


def test_requests_of_other_categories_are_left_out() -> None:
    asked = Prompts(tuple(Prompt(text=text, category=text) for text in ("Privacy", "Physical harm", "Weather")))
    assert harms(asked) == Kind("harms", ("Privacy", "Physical harm"), ("privacy", "violence"))


@pytest.mark.parametrize("seed", range(3))
def test_an_auroc_is_that_of_its_pairs_with_ties_by_half(seed: int) -> None:
    draws = np.random.default_rng(seed)
    labels, scores = draws.random(60) < 0.3, draws.integers(0, 9, 60).astype(float)
    found = auroc("it", labels, scores)
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_a_planted_concept_is_read_and_labels_dealt_out_are_not() -> None:
    scores = np.where(KIND.labels("rain"), 1.0, 0.0) + 0.01 * np.arange(40)
    read: Any = SimpleNamespace(kind=KIND, of=lambda concept: scores if concept == "rain" else -scores)
    dealt = dict(labels_dealt(KIND, 0))
    assert list(dealt) == ["rain", "wind"]
    for concept in dealt:
        row = cast(Any, compared(read, lambda concept, texts: np.zeros(len(texts)), concept, dealt[concept]))
        assert (row["n"], row["others"], dealt[concept].sum()) == (20, 20, 20)
        assert row[READ]["value"] == 1.0
        assert row[WORDS]["value"] == 0.5
        assert row[DEALT]["value"] < 0.8


def test_words_of_the_training_texts_are_known_again() -> None:
    rain, other = bags_of_words(a_set(2, 20))("rain", ["wool rain moss", "wool none moss"])
    assert rain > other
