"""From estimates to exact scores, with how sure: a Gaussian process over what was measured.

    exact = estimate + r(estimate, layer),    r ~ GP(mean of the measured, RBF + noise)

First-order estimates are biased alike at neighbouring layers - too small early in the model, too large late in it - so
that what was measured at a layer says something of its neighbours, and little of layers far away, which stay uncertain.
The kernel's lengths are fixed: with a dozen points, fitting them says less than it seems to.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from workbench.search.scoring import Place

SIGMAS = 2.5  # how far from its prediction a score may be; guesses at large changes have long tails
_ESTIMATES, _LAYERS = 2.0, 0.15  # lengths: in standard deviations of the estimates, and as a share of the layers
_NOISE = 0.3  # of the residuals' variance, that no neighbour explains
_LEAST = 3  # measured, for there to be a prediction


class Surrogate:
    """Predicts scores of all places from the `exact` ones of some."""

    def __init__(self, estimates: Mapping[Place, float], exact: Mapping[Place, float]) -> None:
        self._estimates = {place: value for place, value in estimates.items() if np.isfinite(value)}
        self._exact = {p: value for p, value in exact.items() if np.isfinite(value) and p in self._estimates}

    def bounds(self, place: Place) -> tuple[float, float]:
        """Between what the score of a place probably lies; anywhere where too little is known."""
        return self._bounds.get(place, (-np.inf, np.inf))

    @cached_property
    def _bounds(self) -> dict[Place, tuple[float, float]]:
        if len(self._exact) < _LEAST:
            return {}
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, WhiteKernel

        places, known = list(self._estimates), list(self._exact)
        kernel = RBF([_ESTIMATES, _LAYERS]) + WhiteKernel(_NOISE)
        residuals = np.array([self._exact[place] - self._estimates[place] for place in known])
        spread = max(float(residuals.std()), 1e-6)
        process = GaussianProcessRegressor(kernel, optimizer=None)
        process.fit(self._features(known), (residuals - residuals.mean()) / spread)
        mean, deviation = process.predict(self._features(places), return_std=True)
        middle = np.array([self._estimates[place] for place in places]) + residuals.mean() + spread * mean
        reach = SIGMAS * spread * deviation
        return {p: (float(m - r), float(m + r)) for p, m, r in zip(places, middle, reach, strict=True)}

    def _features(self, places: Sequence[Place]) -> Float[np.ndarray, "place 2"]:
        spread = max(float(np.std(list(self._estimates.values()))), 1e-6)
        most = 1 + max(site.layer for _, site in self._estimates)
        return np.array([[self._estimates[place] / spread, place[1].layer / most] for place in places])
