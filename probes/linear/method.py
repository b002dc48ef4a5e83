"""A method of fitting a linear probe: scikit-learn pipelines, and the line that one of them has drawn.

A method is a frozen dataclass in `methods/`, whose fields are its options. It offers candidates, the most regularised
first; which of them fits is decided on inner folds, never here.

A pipeline scales each feature and then weighs it. The line is given back in the space of raw activations:

    w . (h - mean) / deviation + b  =  (w / deviation) . h + b - (w / deviation) . mean
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from workbench.errors import ProbeError
from workbench.registry import Registry


@runtime_checkable
class Method(Protocol):
    """Offers pipelines that end in an estimator with `coef_` and `intercept_`."""

    def candidates(self) -> Sequence[Any]: ...


methods: "Registry[type[Any]]" = Registry("probe method", "probes.linear.methods", "workbench.probes")


@dataclass(frozen=True, eq=False)
class Line:
    """A decision `h . weight + bias` of raw activations; above 0 it says positive."""

    weight: Float64[np.ndarray, " d_model"]
    bias: float

    def __call__(self, x: Float64[np.ndarray, "n d_model"]) -> Float64[np.ndarray, " n"]:
        return np.asarray(x @ self.weight + self.bias)


def fit_line(pipeline: Any, x: Float64[np.ndarray, "n d_model"], positive: Bool[np.ndarray, " n"]) -> Line:
    """Fit a copy of the pipeline; ProbeError where every weight comes out as 0."""
    fitted = clone(pipeline).fit(x, positive)
    weight = np.asarray(fitted[-1].coef_, dtype=np.float64).ravel()
    bias = float(np.ravel(fitted[-1].intercept_)[0])
    for step in fitted[:-1]:
        assert isinstance(step, StandardScaler)
        weight = weight / step.scale_
        bias -= float(weight @ step.mean_)
    if not np.linalg.norm(weight) > 0:
        raise ProbeError("The probe gives every feature weight 0, so it reads nothing; regularise less.")
    return Line(weight, bias)
