"""The surrogate: layers that were measured say something of their neighbours, and little of layers far away."""

import numpy as np

from workbench.models import Site
from workbench.search.scoring import Place
from workbench.search.surrogate import Surrogate

PLACES: list[Place] = [(position, Site(layer, "resid_pre")) for position in (-1, -2, -3) for layer in range(18)]


def planted(seed: int) -> tuple[dict[Place, float], dict[Place, float]]:
    """Estimates, and exact scores that are lower by much in early layers and by nothing in late ones."""
    generator = np.random.default_rng(seed)
    estimates = {place: float(generator.normal(-1, 1)) for place in PLACES}
    exact = {p: e - 1.5 * (1 - p[1].layer / 17) + float(generator.normal(0, 0.1)) for p, e in estimates.items()}
    return estimates, exact


def test_most_scores_lie_within_their_bounds() -> None:
    inside = []
    for seed in range(20):
        estimates, exact = planted(seed)
        known = {place: exact[place] for place in PLACES[::5]}
        surrogate = Surrogate(estimates, known)
        inside += [low <= exact[p] <= high for p in PLACES if p not in known for low, high in [surrogate.bounds(p)]]
    assert np.mean(inside) > 0.9


def test_a_bias_of_early_layers_is_learned_and_not_given_to_late_ones() -> None:
    estimates, exact = planted(0)
    surrogate = Surrogate(estimates, {place: exact[place] for place in PLACES[::4]})
    for place in PLACES:
        middle = np.mean(surrogate.bounds(place)) - estimates[place]
        if place[1].layer <= 3:
            assert middle < -0.8
        if place[1].layer >= 15:
            assert middle > -0.6


def test_what_is_far_from_all_that_was_measured_is_less_sure() -> None:
    estimates = dict.fromkeys(PLACES, -1.0) | {PLACES[0]: -1.2}
    near = [place for place in PLACES if place[1].layer >= 14]
    surrogate = Surrogate(estimates, {place: -1.0 + 0.1 * (place[0] or 0) for place in near})

    def width(place: Place) -> float:
        low, high = surrogate.bounds(place)
        return high - low

    assert width((-1, Site(2, "resid_pre"))) > 1.3 * width((-1, Site(15, "resid_pre")))


def test_too_little_is_no_prediction() -> None:
    estimates, exact = planted(0)
    for known in ({}, dict(list(exact.items())[:2]), {PLACES[0]: float("nan"), PLACES[1]: 1.0, PLACES[2]: 1.0}):
        assert Surrogate(estimates, known).bounds(PLACES[5]) == (-np.inf, np.inf)
