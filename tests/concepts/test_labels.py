"""Concept sets: what may be learned from, and what is said of the rest."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.concepts.planted import a_set
from workbench.concepts import Concept, ConceptSet, builtin_concepts, load_concepts
from workbench.concepts.labels import chosen
from workbench.errors import ConceptError

PARTS = ("train", "val", "test")


def toml(folder: Path, name: str, shown: list[str], other: list[str]) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f"name = {json.dumps(name)}\npositive = {json.dumps(shown)}\nnear_miss = {json.dumps(other)}\n")
    return path


def texts(word: str, n: int) -> list[str]:
    return [f"{word} {'x' * number} {number}" for number in range(n)]


@pytest.fixture(scope="module")
def found() -> ConceptSet:
    return builtin_concepts()


class TestBuiltin:
    def test_there_are_many_with_many_texts(self, found: ConceptSet) -> None:
        assert len(found) >= 48
        for concept in found.concepts:
            assert min(len(concept.positive), len(concept.near_miss)) >= 40, concept.name
            assert concept.description

    def test_no_text_is_given_twice_to_one_concept(self, found: ConceptSet) -> None:
        for concept in found.concepts:
            both = [text.strip().lower() for text in (*concept.positive, *concept.near_miss)]
            assert len(set(both)) == len(both), concept.name

    def test_no_template_is_shared(self, found: ConceptSet) -> None:
        for concept in found.concepts:
            for side in (concept.positive, concept.near_miss):
                begun = [" ".join(text.lower().split()[:4]) for text in side]
                most = max(begun.count(each) for each in begun)
                assert most <= 4, (concept.name, max(begun, key=begun.count))

    def test_every_concept_is_in_every_part(self, found: ConceptSet) -> None:
        for part in PARTS:
            labels = found.part(part).labels
            assert ((labels == 1).sum(axis=0) >= 5).all()
            assert ((labels == 0).sum(axis=0) >= 5).all()


def test_a_text_is_in_one_part_alone() -> None:
    parts = [set(builtin_concepts(["fear", "law"]).part(part).texts) for part in PARTS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(builtin_concepts(["fear", "law"])._rows[0])


def test_what_stands_side_by_side_stays_together() -> None:
    one = a_set(1).concepts[0]
    found = ConceptSet("twins", (one,))
    part_of = {text: part for part in PARTS for text in found.part(part).texts}
    assert all(part_of[shown] == part_of[other] for shown, other in zip(one.positive, one.near_miss, strict=True))


def test_a_labelled_corpus_is_read(tmp_path: Path) -> None:
    rows = [
        {"text": text, "concept": "wet", "label": text.startswith("rain")}
        for text in texts("rain", 5) + texts("sun", 5)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    (concept,) = load_concepts(path).concepts
    assert concept == Concept(name="wet", positive=tuple(texts("rain", 5)), near_miss=tuple(texts("sun", 5)))


def test_a_concept_without_negatives_is_left_out_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml(tmp_path, "lonely", texts("a", 12), [])
    toml(tmp_path, "single", ["only one"], texts("c", 12))
    toml(tmp_path, "whole", texts("d", 12), texts("e", 12))
    from workbench.runs import reporting, stderr_reporter

    with stderr_reporter() as reporter, reporting(reporter):
        assert load_concepts(tmp_path).names == ("whole",)
    said = " ".join(capsys.readouterr().err.split())
    assert "lonely is left out: it has 0 near misses" in said
    assert "single is left out: it has 1 texts that show it" in said


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda f: toml(f, "alone", ["x"], []), "has no concept that can be learned"),
        (lambda f: (f / "a.toml").write_text("name = "), "cannot be read"),
        (lambda f: (f / "a.toml").write_text('name = "x"\npositive = 3\nnear_miss = []'), "is no concept"),
        (lambda f: None, "is no concept set"),
        (lambda f: [toml(f, "a", texts("a", 5), texts("b", 5)), (f / "b.toml").write_text((f / "a.toml").read_text())],
         "a is named twice"),
    ],
)  # fmt: skip
def test_bad_sets_are_refused(write: "object", match: str, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    with pytest.raises(ConceptError, match=match):
        load_concepts(tmp_path)


@pytest.mark.parametrize("line", ["[]", '{"text": "x"}', '{"text": "x", "concept": "a", "label": "yes"}', "not json"])
def test_bad_corpora_are_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(ConceptError, match="is no labelled corpus"):
        load_concepts(path)


def test_a_text_cannot_show_a_concept_and_not() -> None:
    found = ConceptSet("both", (Concept(name="a", positive=("x", "y"), near_miss=("x", "z")),))
    with pytest.raises(ConceptError, match="a: 'x' is given as shown and as not shown"):
        found.part("train")


def test_a_concept_that_is_not_there_is_named() -> None:
    with pytest.raises(ConceptError, match="There is no concept 'joy' in words; it has: rain"):
        chosen(a_set(), ["joy"])


def test_labels_are_those_of_the_texts() -> None:
    found = a_set(2)
    for part in PARTS:
        rows = found.part(part)
        for text, labels in zip(rows.texts, rows.labels, strict=True):
            for concept, label in zip(found.concepts, labels, strict=True):
                expected = 1 if text in concept.positive else 0 if text in concept.near_miss else np.nan
                assert label == expected or (np.isnan(label) and np.isnan(expected))
