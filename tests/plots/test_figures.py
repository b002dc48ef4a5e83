"""Figures as data."""

import pytest

from workbench.plots import rates_figure, tradeoff_figure
from workbench.statistics import rate_score


def test_rates_carry_their_n_and_their_intervals() -> None:
    scores = [rate_score("a", 5, 10), rate_score("b", 0, 10)]
    figure = rates_figure(["baseline", "ablated"], {"harmful": scores}, "Refusals (%)")
    dots, texts = figure.data
    assert dots.name == "harmful (n=10)"
    assert list(dots.y) == [50.0, 0.0]
    assert dots.error_y.array[0] == pytest.approx(100 * (scores[0].high or 0) - 50.0)
    assert dots.error_y.arrayminus[1] == pytest.approx(0.0)
    assert list(texts.text) == ["50", "0"]
    assert list(texts.y) == [pytest.approx(100 * (score.high or 0)) for score in scores]
    assert "95 % interval" in figure.layout.yaxis.title.text
    assert list(figure.layout.xaxis.ticktext) == ["baseline", "ablated"]


def test_sets_stand_beside_each_other_at_every_condition() -> None:
    scores = [rate_score("a", 5, 10)]
    figure = rates_figure(["baseline"], {"harmful": scores, "harmless": scores}, "Refusals (%)")
    first, second = (trace.x[0] for trace in figure.data if trace.name)
    assert first == -second < 0


def test_a_tradeoff_marks_the_front_the_choice_and_the_limit() -> None:
    cost, gain = [0.5, 0.1, 0.9], [-3.0, -1.0, -2.0]
    bounds = ([(c - 0.05, c + 0.1) for c in cost], [(g - 1.0, g + 2.0) for g in gain])
    figure = tradeoff_figure(
        cost, gain, ["a", "b", "c"], [0, 1], 0, bounds=bounds, limit=0.1, x="KL (nats)", y="Bypass"
    )
    candidates, front, chosen = figure.data
    assert list(candidates.x) == cost
    assert list(front.text) == ["b", "a"]
    assert list(front.error_y.array) == [pytest.approx(2.0)] * 2
    assert list(front.error_x.arrayminus) == [pytest.approx(0.05)] * 2
    assert (chosen.name, list(chosen.x)) == ("chosen: a", [0.5])
    assert figure.layout.shapes[0].x0 == 0.1
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("KL (nats)", "Bypass")
