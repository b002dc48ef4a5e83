"""Intervals and paired tests against closed forms, other libraries, and their own promise of coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep

from workbench.errors import UsageError
from workbench.statistics import Score, gap_interval, mcnemar, mean_score, rate_score


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_its_closed_form_and_stays_inside_zero_and_one(counts: tuple[int, int]) -> None:
    hits, n = counts
    z, p = 1.959963984540054, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    score = rate_score("r", hits, n)
    assert score.low == pytest.approx(min(centre - half, p), abs=1e-9)
    assert score.high == pytest.approx(max(centre + half, p), abs=1e-9)
    assert -1e-12 <= score.low <= score.value <= score.high <= 1 + 1e-12


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(method="wilson")
    found = rate_score("r", *counts)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_wilson_by_hand() -> None:
    score = rate_score("r", 2, 40)
    assert (round(score.value, 3), round(score.low or 0, 3), round(score.high or 0, 3)) == (0.05, 0.014, 0.165)


def test_the_bootstrap_interval_covers_the_planted_mean() -> None:
    generator = np.random.default_rng(0)
    draws = [mean_score("m", generator.exponential(2.0, 60).tolist()) for _ in range(200)]
    covered = sum((score.low or 0) <= 2.0 <= (score.high or 0) for score in draws)
    assert 0.88 <= covered / 200 <= 0.99


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1))
def test_the_gap_of_two_rates_has_newcombes_interval(n: int, m: int, first: float, second: float) -> None:
    hits, others = round(first * n), round(second * m)
    expected = confint_proportions_2indep(others, m, hits, n, method="newcomb", compare="diff")
    found = gap_interval(rate_score("a", hits, n), rate_score("b", others, m))
    assert found == (pytest.approx(expected[0], abs=1e-9), pytest.approx(expected[1], abs=1e-9))


def test_the_interval_of_a_gap_of_means_covers_the_planted_one() -> None:
    generator, covered = np.random.default_rng(3), 0
    for _ in range(300):
        seen, tested = generator.exponential(1.0, 32), 0.5 + generator.exponential(2.0, 50)
        low, high = gap_interval(*(mean_score("m", side.tolist()) for side in (seen, tested)))
        covered += low is not None and high is not None and low <= 1.5 <= high
    assert 0.90 <= covered / 300 <= 0.99
    assert gap_interval(mean_score("m", [1.0]), mean_score("m", [1.0, 2.0])) == (None, None)


def test_one_observation_has_no_interval_and_none_has_no_score() -> None:
    one = mean_score("m", [0.5])
    assert (one.low, one.high, one.n) == (None, None, 1)
    assert str(one) == "0.5 [n=1]"
    for empty in (lambda: mean_score("m", []), lambda: rate_score("r", 0, 0)):
        with pytest.raises(UsageError, match="0 observations"):
            empty()


def test_values_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(UsageError, match="m has 1 values that are not finite"):
        mean_score("m", [1.0, float("nan")])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_exact_binomial_test_on_the_changed(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    test = mcnemar(before, after)
    gained = sum(a and not b for b, a in pairs)
    lost = sum(b and not a for b, a in pairs)
    assert (test.gained, test.lost, test.n) == (gained, lost, len(pairs))
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert test.p_value == pytest.approx(expected, abs=1e-9)


def test_a_paired_test_needs_pairs() -> None:
    with pytest.raises(UsageError, match="same prompts twice"):
        mcnemar([True], [True, False])


def test_a_score_is_a_value_and_reads_back() -> None:
    score = rate_score("refusal", 3, 4)
    assert Score.model_validate_json(score.model_dump_json()) == score
    with pytest.raises(ValidationError):
        score.value = 0.0
