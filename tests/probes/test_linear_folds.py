"""Folds split no topic; an AUROC and its interval are what they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes.linear.controls import shuffled_in_folds
from probes.linear.folds import grouped_folds, topic_groups
from probes.linear.reading import auroc_draws, auroc_score, calibration_errors, threshold_at, topic_draws
from workbench.errors import ProbeError
from workbench.prompts import Prompt, Prompts, builtin_pairs


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(6, 30))
def test_no_fold_splits_a_group(seed: int, folds: int, topics: int) -> None:
    random = np.random.default_rng(seed)
    groups = random.integers(0, topics, 8 * topics)
    positive = random.random(8 * topics) < 0.5
    try:
        found = grouped_folds(positive, groups, folds, seed)
    except ProbeError:
        return  # too few of something, said in a sentence
    for topic in set(groups.tolist()):
        assert len(set(found[groups == topic].tolist())) == 1
    assert set(found.tolist()) == set(range(folds))
    for fold in range(folds):
        assert len(set(positive[found != fold].tolist())) == 2


def test_twins_categories_and_templates_are_one_topic() -> None:
    pairs = builtin_pairs("train")
    both = Prompts((*pairs.positive, *pairs.negative))
    positive = np.arange(len(both)) < len(pairs.positive)
    groups = topic_groups(both, positive)
    categories = [prompt.category for prompt in both]
    assert len(set(groups.tolist())) == len(set(categories)) == len(set(zip(groups.tolist(), categories, strict=True)))
    texts = ["Write a long poem about the red sea", "Write a long poem about the blue sea", "How do cars work?"]
    plain = topic_groups(Prompts.of(texts), np.array([True, False, True]))
    assert plain[0] == plain[1] != plain[2]
    across = [Prompt(text=text, category=name) for text, name in zip(texts, "aba", strict=True)]
    others = [Prompt(text=f"{name} {name * 3}", category=name) for name in "cdefgh"]
    linked = topic_groups(Prompts((*across, *others)), np.arange(9) % 2 == 0)
    assert linked[0] == linked[1] == linked[2]  # by the words, and then by the category
    assert len(set(linked.tolist())) == 7


def test_a_category_that_is_a_label_is_no_topic() -> None:
    """A public set may call all of its harmless prompts "benign": as one topic they would be one fold."""
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"]
    benign = [Prompt(text=f"{word} {word[::-1]}", category="benign") for word in words]
    harmful = [Prompt(text=f"{word * 2} bad", category=f"kind {row % 5}") for row, word in enumerate(words)]
    groups = topic_groups(Prompts((*harmful, *benign)), np.arange(20) < 10)
    assert len(set(groups[10:].tolist())) == 10
    assert len(set(groups[:10].tolist())) == 5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_within_one_fold_it_is_scikit_learns_auroc(seed: int) -> None:
    random = np.random.default_rng(seed)
    decisions, positive = np.round(random.normal(size=40), 1), np.arange(40) % 3 == 0
    draws = topic_draws(np.arange(40), seed, draws=5)
    found = auroc_draws(decisions, positive, np.zeros(40, dtype=int), draws)
    for value, weights in zip(found, draws, strict=True):
        assert value == pytest.approx(roc_auc_score(positive, decisions, sample_weight=weights))


def test_pairs_of_different_folds_are_not_compared() -> None:
    """In each fold the order is perfect; pooled, one fold's offset would spoil it."""
    decisions = np.array([1.0, 0.0, 11.0, 10.0])
    positive, folds = np.array([True, False, True, False]), np.array([0, 0, 1, 1])
    assert auroc_draws(decisions, positive, folds, np.ones((1, 4)))[0] == 1.0
    assert roc_auc_score(positive, decisions) == 0.75


def test_the_interval_covers_what_other_topics_give() -> None:
    """Topics have effects of their own; an interval that drew prompts would be far too narrow."""
    covered, n, topics = 0, 240, 24
    groups = np.repeat(np.arange(topics), n // topics)
    positive = groups % 2 == 0  # a class for each topic, the hardest case
    truth = 0.7602  # Phi(1 / sqrt(2)), for decisions of unit variance that lie 1 apart
    for seed in range(100):
        random = np.random.default_rng(seed)
        effect = np.sqrt(0.5) * random.normal(size=topics)[groups]
        decisions = positive + effect + np.sqrt(0.5) * random.normal(size=n)
        drawn = auroc_draws(decisions, positive, np.zeros(n, dtype=int), topic_draws(groups, seed, 300))
        score = auroc_score("AUROC", drawn, positive)
        covered += score.low <= truth <= score.high  # type: ignore[operator]
    assert covered >= 85


def test_a_perfect_auroc_still_has_an_interval() -> None:
    for n, low in ((10, 0.7), (100, 0.95)):
        positive = np.arange(2 * n) < n
        drawn = auroc_draws(positive.astype(float), positive, np.zeros(2 * n, dtype=int), topic_draws(np.arange(2 * n)))
        score = auroc_score("AUROC", drawn, positive)
        assert score.value == score.high == 1.0
        assert low < score.low < 0.99  # type: ignore[operator]
        worst = auroc_score("AUROC", 1 - drawn, positive)
        assert worst.high == pytest.approx(1 - score.low)  # type: ignore[operator]


def test_the_threshold_lets_through_no_more_than_was_asked() -> None:
    negative = np.arange(200.0)
    for rate in (0.0, 0.01, 0.05, 0.5):
        threshold = threshold_at(negative, rate)
        assert (negative > threshold).mean() == rate
    assert threshold_at(np.arange(10.0), 0.01) == 9.0


def test_calibration_error_is_none_where_probabilities_hold_and_large_where_they_do_not() -> None:
    random = np.random.default_rng(0)
    said = random.random(20_000)
    true = random.random(20_000) < said
    each = np.ones((1, 20_000))
    assert calibration_errors(said, true, each)[0] < 0.02
    assert calibration_errors(1 - said, true, each)[0] == pytest.approx(0.5, abs=0.03)


def test_labels_are_dealt_out_inside_folds() -> None:
    folds = np.repeat(np.arange(5), 20)
    positive = np.random.default_rng(0).random(100) < 0.4
    dealt = shuffled_in_folds(positive, folds, np.random.default_rng(1))
    assert (dealt != positive).any()
    for fold in range(5):
        assert dealt[folds == fold].sum() == positive[folds == fold].sum()
