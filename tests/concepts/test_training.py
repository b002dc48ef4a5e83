"""Training: planted concepts are recovered, dealt-out labels are not, and the same seed is the same module."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.concepts.planted import a_set, planted
from workbench.concepts import ConceptSettings, train_bottleneck
from workbench.concepts.course import Course
from workbench.concepts.informing import informed_by
from workbench.concepts.learner import Lesson, concept_loss
from workbench.concepts.measuring import leace, measured_mass, measured_probes, measured_reading
from workbench.concepts.scoring import calibration_error, leakage_scores, mass_scores, reading_scores
from workbench.concepts.settings import Weights
from workbench.concepts.taught import Taught
from workbench.concepts.training import Trained
from workbench.errors import ConceptError, RunError
from workbench.models import Head, Subject

SETTINGS = ConceptSettings(discovered=32, k_discovered=8, candidates=32, epochs=15, rate=1e-2, batch=32)


@pytest.fixture(scope="module")
def trained(tiny_subjects: dict[str, Subject]) -> Trained:
    subject = tiny_subjects["llama"]
    return train_bottleneck(subject, a_set(), planted(subject, 240, 0), planted(subject, 60, 1), SETTINGS)


def test_planted_concepts_are_read_and_their_vectors_found(llama: Subject, trained: Trained) -> None:
    made, test = trained.bottleneck, planted(llama, 120, 2)
    scores, rows = reading_scores(measured_reading(made, test), made.names)
    assert scores[0].value > 0.95
    assert all(row["auroc"] > 0.9 for row in rows.values())
    cosines = torch.nn.functional.cosine_similarity(made.vectors, torch.eye(llama.d_model)[:3])
    assert float(cosines.min()) > 0.8


def test_dealt_out_labels_are_not_read(llama: Subject) -> None:
    parts = [planted(llama, n, seed).with_labels_dealt(seed) for n, seed in ((240, 0), (60, 1), (240, 2))]
    made = train_bottleneck(llama, a_set(), parts[0], parts[1], SETTINGS).bottleneck
    assert 0.35 < reading_scores(measured_reading(made, parts[2]), made.names)[0][0].value < 0.65


def test_dealt_out_labels_keep_their_counts(llama: Subject) -> None:
    whole = planted(llama, 60, 0)
    dealt = whole.with_labels_dealt(0)
    assert not np.array_equal(dealt.labels, whole.labels, equal_nan=True)
    assert np.array_equal(np.isnan(dealt.labels), np.isnan(whole.labels))
    assert np.array_equal(np.nansum(dealt.labels, axis=0), np.nansum(whole.labels, axis=0))


def test_the_same_seed_is_the_same_module(llama: Subject) -> None:
    few = SETTINGS.model_copy(update={"epochs": 2})
    made = [
        train_bottleneck(llama, a_set(), planted(llama, 60, 0), planted(llama, 30, 1), each).bottleneck
        for each in (few, few, few.model_copy(update={"seed": 1}))
    ]
    assert made[0].digest == made[1].digest != made[2].digest


def test_a_course_that_goes_on_from_a_checkpoint_is_the_one_that_was_not_stopped(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held, few = planted(llama, 60, 0), planted(llama, 30, 1), SETTINGS.model_copy(update={"epochs": 4})
    whole = train_bottleneck(llama, a_set(), train, held, few)
    epoch, done = Course._epoch, []

    def stopped(self: Course, number: int, *texts: Taught) -> dict[str, object]:
        if number == 2 and not done:
            done.append(number)
            raise KeyboardInterrupt
        return epoch(self, number, *texts)

    monkeypatch.setattr(Course, "_epoch", stopped)
    checkpoint = tmp_path / "course"
    with pytest.raises(KeyboardInterrupt):
        train_bottleneck(llama, a_set(), train, held, few, checkpoint=checkpoint)
    again = train_bottleneck(llama, a_set(), train, held, few, checkpoint=checkpoint)
    assert again.history == whole.history
    assert again.bottleneck.digest == whole.bottleneck.digest


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"no"), None])
def test_a_checkpoint_of_something_else_is_refused(
    llama: Subject, tmp_path: Path, damage: Callable[[Path], object] | None
) -> None:
    train, held, checkpoint = planted(llama, 60, 0), planted(llama, 30, 1), tmp_path / "course"
    few = SETTINGS.model_copy(update={"epochs": 1})
    train_bottleneck(llama, a_set(), train, held, few, checkpoint=checkpoint)
    if damage is not None:
        damage(checkpoint)
    others = ((train, few.model_copy(update={"seed": 1})), (train.with_labels_dealt(0), few))
    for texts, how in others:
        with pytest.raises(RunError, match=r"not this course's checkpoint .*; remove it and train again"):
            train_bottleneck(llama, a_set(), texts, held, how, checkpoint=checkpoint)


def test_a_large_discovered_part_is_factorised(llama: Subject) -> None:
    how = SETTINGS.model_copy(update={"factorised_above": 16, "rank": 5, "epochs": 2})
    made = train_bottleneck(llama, a_set(), planted(llama, 60, 0), planted(llama, 30, 1), how).bottleneck
    assert int(torch.linalg.matrix_rank(made.decoder, atol=1e-4)) <= 5


def test_what_it_was_made_from_travels_with_it(llama: Subject) -> None:
    """No evaluation is made on texts that a concept was taught or chosen on."""
    train, held = (replace(planted(llama, 30, seed), seen=frozenset({str(seed)})) for seed in (0, 1))
    made = train_bottleneck(llama, a_set(), train, held, SETTINGS.model_copy(update={"epochs": 1})).bottleneck
    assert made.seen == made.concept("wind").seen == made.concept(0).seen == {"0", "1"}


def test_training_lowers_the_validation_loss(trained: Trained) -> None:
    total = [sum(row["validation"].values()) for row in trained.history]
    assert min(total) < 0.8 * total[0]


def test_the_adversary_closes_the_gap(llama: Subject) -> None:
    train, held, test = planted(llama, 240, 0), planted(llama, 60, 1), planted(llama, 240, 2)
    left = {}
    for weight in (0.0, 1.0):
        how = SETTINGS.model_copy(update={"weights": Weights(adversary=weight, next_token=0, reconstruction=0.05)})
        made = train_bottleneck(llama, a_set(), train, held, how).bottleneck
        found = {
            score.name: score.value
            for score in leakage_scores(measured_probes(made, train, test), torch.from_numpy(test.labels))
        }
        left[weight] = found["probe on discovered + residual"]
        assert found["probe on the stream"] > 0.9
        assert found["probe on the stream after LEACE"] < 0.65
    assert left[1.0] < left[0.0] - 0.05


def test_labels_must_be_those_of_the_concepts(llama: Subject) -> None:
    with pytest.raises(ConceptError, match="labels are of 3 concepts and words has 2"):
        train_bottleneck(llama, a_set(2), planted(llama, 30, 0), planted(llama, 30, 1), SETTINGS)


def test_the_noisy_or_is_that_of_the_text() -> None:
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    lesson = Lesson(
        torch.zeros(5, 3), torch.zeros(5).long(), torch.tensor([0, 0, 0, 1, 1]), torch.tensor([[1.0, 0], [0, 1]])
    )
    expected = torch.zeros(2)
    for text, rows in ((0, slice(0, 3)), (1, slice(3, 5))):
        shown = 1 - (1 - logits[rows].sigmoid()).prod(dim=0)
        loss = torch.nn.functional.binary_cross_entropy(shown, lesson.labels[text], reduction="none")
        expected += loss / (rows.stop - rows.start) ** 0.5 / 2
    assert float(concept_loss(logits, lesson, 0.0, 0.0)) == pytest.approx(float(expected.mean()), rel=1e-4)


def test_mass_is_measured_on_the_last_site(llama: Subject, trained: Trained) -> None:
    found = {
        score.name: score
        for score in mass_scores(measured_mass(trained.bottleneck, Head.of(llama), planted(llama, 30, 2)))
    }
    shares = [found[f"share of {part}"].value for part in ("known", "discovered", "residual")]
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_leace_leaves_equal_means_and_is_a_projection() -> None:
    draws = np.random.default_rng(0)
    x, labels = draws.normal(size=(80, 6)), np.repeat([0.0, 1.0], 40)
    x[labels == 1, 0] += 2
    eraser = leace(x, labels)
    left = x - (x - x.mean(axis=0)) @ eraser
    np.testing.assert_allclose(left[labels == 1].mean(axis=0), left[labels == 0].mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(eraser @ eraser, eraser, atol=1e-9)


def test_calibration_error_of_the_truth_is_small() -> None:
    draws = np.random.default_rng(0)
    likely = draws.uniform(size=20_000)
    labels = (draws.uniform(size=20_000) < likely).astype(float)
    assert calibration_error(likely, labels) < 0.02
    assert calibration_error(1 - likely, labels) > 0.3


class TestInforming:
    """The score of a text is what a step on it does."""

    def test_a_step_on_a_text_moves_the_contribution_as_its_score_says(self, llama: Subject, trained: Trained) -> None:
        made, train = trained.bottleneck, planted(llama, 30, 0)
        query = planted(llama, 6, 3).corpus.acts
        weights = torch.randn(query.shape, generator=torch.Generator().manual_seed(0))
        found = informed_by(made, train, query, weights, "wind")
        wide = train.corpus.acts
        spread = (wide / wide.square().mean(dim=1, keepdim=True).sqrt()).std(dim=0)
        for text in (1, 4, 10):
            expected = self.moved(made, train, query, weights, spread, text)
            assert float(found.by_gradient[text]) == pytest.approx(expected, rel=0.02, abs=1e-5)

    def moved(self, made, train, query, weights, spread, text) -> float:  # type: ignore[no-untyped-def]
        column, step = made.index("wind"), 1e-3
        row = (made.readers[column] * spread).clone().requires_grad_(True)
        bias = made.reader_bias[column] + made.readers[column] @ made.centre  # as the learner has it, which centres
        lesson = train.lesson([text])
        logits = (lesson.x - made.centre) / spread @ row + bias
        shown = 1 - (1 - logits.sigmoid()).prod()
        label = lesson.labels[0, column]
        if bool(label.isnan()):
            return 0.0
        (-(label * shown.log() + (1 - label) * (1 - shown).clamp_min(1e-30).log())).backward()
        x = query / query.square().mean(dim=1, keepdim=True).sqrt()
        scale = query.square().mean(dim=1).sqrt()

        def contribution(at: torch.Tensor) -> float:
            active = ((x - made.centre) / spread @ at + bias).sigmoid()
            return float((active * scale * (weights @ made.vectors[column])).sum())

        assert row.grad is not None
        with torch.no_grad():
            return (contribution(row - step * row.grad) - contribution(row + step * row.grad)) / (2 * step)

    def test_texts_with_the_concepts_own_label_come_first(self, llama: Subject, trained: Trained) -> None:
        train = planted(llama, 60, 0)
        query = planted(llama, 12, 3)
        shown = [i for i in range(12) if query.labels[i, 1] == 1]
        acts = query.corpus.picked(shown).acts
        weights = trained.bottleneck.vectors[1].expand(len(acts), -1)
        top = informed_by(trained.bottleneck, train, acts, weights, "wind").top(5)
        assert all(train.labels[i, 1] == 1 for i in top)


def test_scores_rank_texts(llama: Subject, trained: Trained) -> None:
    test = planted(llama, 60, 2)
    scores = test.scored(trained.bottleneck).numpy()
    labels = test.labels[:, 0]
    known = ~np.isnan(labels)
    assert roc_auc_score(labels[known], scores[known, 0]) > 0.95
