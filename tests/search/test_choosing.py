"""The paper's selection rule, line by line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.search import choose, pareto_front
from workbench.search.choosing import last_layer, relaxed_choice

NAN = float("nan")


def row(position: int, layer: int, bypass: float, induce: float, kl: float) -> dict[str, float]:
    return {
        "position": position, "layer": layer, "refusal_score": bypass, "steering_score": induce, "kl_div_score": kl,
    }  # fmt: skip


def test_the_smallest_bypass_that_passes_wins() -> None:
    rows = [row(-1, 5, -3, 1, 0.05), row(-2, 6, -4, 1, 0.05), row(-1, 7, -2, 1, 0.01)]
    assert choose(rows, 24).winner is rows[1]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(-1, 5, NAN, 1, 0.05), "not a number"),
        (row(-1, 5, -9, NAN, 0.05), "not a number"),
        (row(-1, 5, -9, 1, NAN), "not a number"),
        (row(-1, 19, -9, 1, 0.05), "layer >= 19"),
        (row(-1, 5, -9, 1, 0.1001), "KL > 0.1"),
        (row(-1, 5, -9, -0.001, 0.05), "induce < 0"),
    ],
)
def test_each_rule_drops_what_breaks_it(bad: dict[str, float], reason: str) -> None:
    good = row(-1, 6, -1, 1, 0.05)
    assert choose([bad, good], 24).winner is good
    winner, reasons = choose([bad], 24)
    assert winner is None
    assert reasons == {reason: 1}


def test_the_borders_pass() -> None:
    border = row(-1, 18, -1, 0.0, 0.1)
    assert choose([border], 24).winner is border


@pytest.mark.parametrize(("layers", "first"), [(24, 19), (30, 24), (25, 20), (32, 25), (28, 22), (12, 9), (1, 0)])
def test_the_late_layers_begin_where_the_authors_code_has_them(layers: int, first: int) -> None:
    assert last_layer(layers) == first == int(layers * (1.0 - 0.2))


def test_rules_can_be_changed_or_switched_off() -> None:
    rows = [row(-1, 23, -9, -5, 3.0)]
    assert choose(rows, 24).winner is None
    assert choose(rows, 24, kl_max=None, induce_min=None, drop_last=0.0).winner is rows[0]
    assert choose(rows, 24, kl_max=3.0, induce_min=-5.0, drop_last=0.0).winner is rows[0]


def test_where_nothing_passes_the_smallest_bypass_below_the_late_layers_is_left() -> None:
    rows = [row(-1, 19, -6.5, -2, 0.7), row(-1, 18, -5.9, -1.7, 0.8), row(-5, 18, -1, -4, 0.2)]
    assert choose(rows, 24).winner is None
    assert relaxed_choice(rows, 24) is rows[1]


def test_a_direction_that_breaks_the_model_is_chosen_only_where_there_is_no_other() -> None:
    broken, whole = row(-4, 1, -4.3, -2, 2.7), row(-1, 18, -2.9, -0.1, 0.2)
    assert relaxed_choice([broken, whole], 24) is whole
    assert relaxed_choice([broken], 24) is broken


def test_no_candidates_is_no_winner() -> None:
    assert choose([], 24) == (None, {})


def test_rows_that_lack_a_score_are_an_error() -> None:
    with pytest.raises(UsageError, match="lack kl_div_score"):
        choose([{"position": -1, "layer": 1, "refusal_score": 0.0, "steering_score": 0.0}], 24)


numbers = st.floats(-10, 10, allow_nan=False) | st.just(NAN)
tables = st.lists(st.builds(row, st.integers(-5, -1), st.integers(0, 23), numbers, numbers, numbers), max_size=30)


@given(tables)
def test_the_rule_equals_a_slow_reading_of_the_paper(rows: list[dict[str, float]]) -> None:
    passing = [
        r
        for r in rows
        if not any(math.isnan(r[k]) for k in ("refusal_score", "steering_score", "kl_div_score"))
        and r["layer"] < 19
        and r["kl_div_score"] <= 0.1
        and r["steering_score"] >= 0
    ]
    winner, reasons = choose(rows, 24)
    assert sum(reasons.values()) == len(rows) - len(passing)
    assert (winner is None) == (not passing)
    if winner is not None:
        assert winner["refusal_score"] == min(r["refusal_score"] for r in passing)


@given(tables)
def test_nothing_beats_a_row_of_the_front_and_every_other_row_is_beaten(rows: list[dict[str, float]]) -> None:
    front = pareto_front(rows)

    def beats(one: dict[str, float], other: dict[str, float]) -> bool:
        keys = ("refusal_score", "kl_div_score")
        return all(one[k] <= other[k] for k in keys) and any(one[k] < other[k] for k in keys)

    finite = [
        i
        for i, r in enumerate(rows)
        if all(math.isfinite(r[k]) for k in ("refusal_score", "steering_score", "kl_div_score"))
    ]
    for index in finite:
        beaten = any(beats(rows[other], rows[index]) for other in finite)
        assert not (index in front and beaten)
        if index not in front:
            assert any(
                beats(rows[f], rows[index])
                or all(rows[f][k] == rows[index][k] for k in ("refusal_score", "kl_div_score"))
                for f in front
            )
