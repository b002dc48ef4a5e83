"""Mass-mean (Marks and Tegmark 2023): the difference of the means, tilted by the covariance within the classes.

    weight = C^-1 (mean of positive - mean of negative),   bias = -weight . (middle of the means)

C is shrunk towards a multiple of the identity (Chen et al. 2010, OAS), for there are fewer prompts than features, and
the pseudo-inverse of the paper's code would drop what lies outside the prompts' own span. Features are not scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import oas
from sklearn.pipeline import make_pipeline

from probes.linear.method import methods


class _MassMean(ClassifierMixin, BaseEstimator):
    """As scikit-learn wants an estimator."""

    def __init__(self, tilted: bool = True) -> None:
        self.tilted = tilted

    def fit(self, x: Float64[np.ndarray, "n d"], y: Bool[np.ndarray, " n"]) -> "_MassMean":
        one, other = x[y].mean(axis=0), x[~y].mean(axis=0)
        weight = one - other
        if self.tilted:
            within = x - np.where(y[:, None], one, other)
            weight = np.linalg.solve(oas(within, assume_centered=True)[0], weight)
        self.classes_ = np.array([False, True])
        self.coef_, self.intercept_ = weight[None], np.array([-weight @ (one + other) / 2])
        return self

    def decision_function(self, x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        return np.asarray(x @ self.coef_[0] + self.intercept_[0])


@methods.register("mass-mean")
@dataclass(frozen=True)
class MassMean:
    """Not `tilted`, it is the plain difference in means."""

    tilted: bool = True

    def candidates(self) -> Sequence[Any]:
        return [make_pipeline(_MassMean(self.tilted))]
