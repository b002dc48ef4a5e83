"""Figures as data."""

import pytest

from workbench.plots import rates_figure, tradeoff_figure
from workbench.statistics import rate_score


def test_rates_carry_their_n_and_their_intervals() -> None:
    scores = [rate_score("a", 5, 10), rate_score("b", 0, 10)]
    figure = rates_figure(["baseline", "ablated"], {"harmful": scores}, "Refusals (%)")
    bar = figure.data[0]
    assert bar.name == "harmful (n=10)"
    assert list(bar.y) == [50.0, 0.0]
    assert bar.error_y.array[0] == pytest.approx(100 * (scores[0].high or 0) - 50.0)
    assert bar.error_y.arrayminus[1] == pytest.approx(0.0)
    assert "95 % interval" in figure.layout.yaxis.title.text
    assert figure.layout.yaxis.range == (0, 105)


def test_a_tradeoff_marks_the_front_the_choice_and_the_limit() -> None:
    figure = tradeoff_figure(
        [0.5, 0.1, 0.9], [-3.0, -1.0, -2.0], ["a", "b", "c"], [0, 1], 0, limit=0.1, x="KL (nats)", y="Bypass"
    )
    names = {trace.name: trace for trace in figure.data}
    assert list(names["candidates"].x) == [0.5, 0.1, 0.9]
    assert list(names["front"].text) == ["b", "a"]
    assert list(names["chosen"].text) == ["a"]
    assert figure.layout.shapes[0].x0 == 0.1
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("KL (nats)", "Bypass")
