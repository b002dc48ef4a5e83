"""Paired differences, corrections, planning, agreement and preferences, against other libraries and by hand."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar as other_mcnemar
from statsmodels.stats.multitest import multipletests

from workbench.errors import UsageError
from workbench.statistics import (
    Difference,
    bradley_terry,
    holm,
    kappa_score,
    least_n_for_mean,
    least_n_for_rate,
    mcnemar,
    paired_difference,
    rate_score,
)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_statsmodels(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    gained, lost = sum(a and not b for b, a in pairs), sum(b and not a for b, a in pairs)
    expected = min(float(other_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue), 1.0) if gained + lost else 1.0
    assert mcnemar(before, after).p_value == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    # Eight changed one way and one the other: 2 (C(9,0) + C(9,1)) / 2^9.
    found = mcnemar([True] * 8 + [False] * 3, [False] * 8 + [True] + [False] * 2)
    assert (found.gained, found.lost, found.n) == (1, 8, 11)
    assert found.p_value == pytest.approx(2 * 10 / 512)


@pytest.mark.parametrize("n", [5, 10, 40])
def test_sign_flips_agree_with_scipy(n: int) -> None:
    before, after = np.random.default_rng(n).normal(size=(2, n)) + np.array([[0.0], [0.4]])
    found = paired_difference("d", before.tolist(), after.tolist())
    expected = permutation_test(
        (after - before,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=10_000,
        vectorized=True, rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert found.value == pytest.approx((after - before).mean())


def test_a_planted_change_is_shown_with_its_interval() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 200))
    found = paired_difference("d", noise[0].tolist(), (noise[0] + 0.5 + 0.2 * noise[1]).tolist())
    assert found.says == "more"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.1


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(loc=0.3, size=(300, 60))
    scores = [paired_difference("d", [0.0] * 60, draw.tolist()) for draw in draws]
    covered = sum(s.low <= 0.3 <= s.high for s in scores if s.low is not None and s.high is not None)
    assert covered / 300 > 0.90


@pytest.mark.parametrize("place", [0, 4, 9])
def test_every_item_is_drawn_by_the_interval(place: int) -> None:
    """One item of ten has all of the change: in two draws of three it is there, once or more."""
    change = [float(number == place) for number in range(10)]
    found = paired_difference("d", [0.0] * 10, change)
    assert (found.low, found.high) == (0.0, pytest.approx(0.3))


@pytest.mark.parametrize("kind", ["rate", "mean"])
def test_no_difference_is_shown_between_two_draws_of_one_thing(kind: str) -> None:
    """At most 5 tables in 100 say otherwise: of 2,000 not so many that a true 5 in 100 gives them once in 100 times."""
    draws = np.random.default_rng(2)
    said, tables = 0, 2000
    for _ in range(tables):
        table = []
        for name in "abc":
            pair = draws.random((2, 40)) < 0.4 if kind == "rate" else draws.exponential(size=(2, 40))
            table.append(paired_difference(name, *pair.astype(float).tolist(), kind=kind))  # type: ignore[arg-type]
        said += all(difference.says == "no difference shown" for difference in holm(table))
    assert binomtest(said, tables, 0.95, alternative="less").pvalue > 0.01


def test_a_sign_flip_p_value_below_what_draws_can_say_is_a_bound_that_holds() -> None:
    same = [1.0] * 20
    found = paired_difference("d", [0.0] * 20, same)
    assert 2 / 2**20 < found.p_value == pytest.approx(2 * np.exp(-10))  # the exact value is below Hoeffding's
    tiny = paired_difference("d", [0.0] * 20, [1e-200] * 20)
    assert tiny.p_value == pytest.approx(found.p_value)
    half = paired_difference("d", [0.0] * 20, [1.0] * 15 + [-1.0] * 5)
    assert half.p_value == pytest.approx(binomtest(5, 20).pvalue, abs=0.005)  # where draws come as far, they count


def one(p: float) -> Difference:
    return Difference(name="d", value=1.0, low=0.0, high=2.0, n=9, p_value=p, test="sign flips")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)  # statsmodels empties the garbage at every call
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1]
    assert [d.adjusted for d in holm([one(p) for p in p_values])] == pytest.approx(expected.tolist())


def test_holm_by_hand() -> None:
    found = [difference.adjusted for difference in holm([one(0.01), one(0.04), one(0.03)])]
    assert found == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_kappa_is_scikit_learns() -> None:
    first, second = np.random.default_rng(3).choice(list("abc"), size=(2, 80)).tolist()
    second[:40] = first[:40]
    found = kappa_score("kappa", first, second)
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_kappa_of_one_label_alone_has_no_value() -> None:
    with pytest.raises(UsageError, match="All 3 labels are 'a'"):
        kappa_score("kappa", ["a"] * 3, ["a"] * 3)
    with pytest.raises(UsageError, match="got 0 and 0"):
        kappa_score("kappa", [], [])


@pytest.mark.parametrize(("width", "rate"), [(0.1, 0.5), (0.05, 0.1), (0.15, 0.02), (0.01, 0.5)])
def test_the_least_n_is_enough_and_one_less_is_not(width: float, rate: float) -> None:
    def half(n: int) -> float:
        score = rate_score("r", round(rate * n), n)
        assert score.low is not None
        assert score.high is not None
        return (score.high - score.low) / 2

    n = least_n_for_rate(width, rate)
    assert half(n) <= width
    assert half(n - 1) > width


def test_the_least_n_of_a_mean_by_hand() -> None:
    assert least_n_for_mean(0.1, 0.5) == 97  # (1.96 x 0.5 / 0.1)^2 = 96.04
    for width in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError):
            least_n_for_rate(width)


def test_bradley_terry_of_two_is_the_log_odds() -> None:
    found = bradley_terry([("a", "b")] * 30 + [("b", "a")] * 10)
    assert found["a"].value - found["b"].value == pytest.approx(log(3))
    assert found["a"].low is not None
    assert found["a"].low < found["a"].value


def test_bradley_terry_of_three_by_hand() -> None:
    # A cycle of odds 2, 3 and 6 fits without rest: strengths 6, 3 and 1, whose product is 18.
    found = bradley_terry(
        [("a", "b")] * 4 + [("b", "a")] * 2 + [("b", "c")] * 6 + [("c", "b")] * 2 + [("a", "c")] * 6 + [("c", "a")]
    )
    expected = {name: log(strength) - log(18) / 3 for name, strength in (("a", 6), ("b", 3), ("c", 1))}
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)


def test_bradley_terry_is_choix() -> None:
    choix = pytest.importorskip("choix")
    draws = np.random.default_rng(4)
    truth = {"a": 0.0, "b": 0.7, "c": -0.5, "d": 1.2}
    pairs = []
    for _ in range(400):
        one, two = draws.choice(list(truth), 2, replace=False)
        wins = draws.random() < 1 / (1 + np.exp(truth[two] - truth[one]))
        pairs.append((str(one), str(two)) if wins else (str(two), str(one)))
    found = bradley_terry(pairs)
    expected = choix.mm_pairwise(4, [("abcd".index(w), "abcd".index(loser)) for w, loser in pairs], tol=1e-12)
    assert [found[name].value for name in "abcd"] == pytest.approx(expected - expected.mean(), abs=1e-5)
    assert sorted(found, key=lambda name: found[name].value) == ["c", "a", "b", "d"]


def test_comparisons_that_share_prompts_are_drawn_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.statistics.tournament._RESAMPLES", 120)
    truth, covered, n = np.random.default_rng(7), 0, 40
    for _ in range(60):
        quality = truth.normal(size=(n, 4))  # of each player's reply to each prompt: no player is better
        pairs = [
            ("abcd"[i], "abcd"[j]) if quality[prompt, i] > quality[prompt, j] else ("abcd"[j], "abcd"[i])
            for prompt in range(n) for i in range(4) for j in range(i)
        ]  # fmt: skip
        found = bradley_terry(pairs, prompts=[prompt for prompt in range(n) for _ in range(6)])["a"]
        assert (found.n, found.low is not None) == (n, True)
        covered += found.low <= 0 <= found.high  # type: ignore[operator]
    assert covered >= 52  # of 60 at 95 %: fewer have a chance of 1 in 100


def test_strengths_without_bound_are_refused() -> None:
    with pytest.raises(UsageError, match="never preferred"):
        bradley_terry([("a", "b")] * 5)
    with pytest.raises(UsageError, match="two players"):
        bradley_terry([])


@pytest.mark.parametrize("n", [0, 1])
def test_differences_of_nothing_and_of_one(n: int) -> None:
    if n == 0:
        with pytest.raises(UsageError, match="no items"):
            paired_difference("d", [], [])
        return
    found = paired_difference("d", [0.0], [1.0], kind="rate")
    assert (found.low, found.high, found.p_value, found.says) == (None, None, 1.0, "no difference shown")


@pytest.mark.parametrize(("before", "after"), [(0.95, 0.05), (0.5, 0.0), (0.3, 0.3), (0.0, 0.0)])
def test_the_interval_of_paired_rates_covers_also_where_nearly_all_change(before: float, after: float) -> None:
    draws = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        was, now = (draws.random((1, 20)) < rate for rate in (before, after))
        d = paired_difference("d", was[0].astype(float).tolist(), now[0].astype(float).tolist(), "rate")
        covered += d.low is not None and d.high is not None and d.low <= after - before <= d.high
    assert covered / 400 > 0.92


def test_newcombes_interval_is_the_published_one() -> None:
    # Newcombe 1998, method 10: of 50, both 36, the first alone 12, the second alone 2: 0.0569 to 0.3404.
    before = [1.0] * 36 + [1.0] * 12 + [0.0] * 2
    after = [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    found = paired_difference("d", before, after, "rate")
    assert found.value == pytest.approx(-0.2)
    assert (found.low, found.high) == (pytest.approx(-0.3404, abs=1e-4), pytest.approx(-0.0569, abs=1e-4))
