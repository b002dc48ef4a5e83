"""Logistic regression with an L2 penalty (Alain and Bengio 2016): the likeliest line, shrunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.linear.method import methods


@methods.register("logistic")
@dataclass(frozen=True)
class Logistic:
    """`strengths` are scikit-learn's C, the inverse of the penalty."""

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def candidates(self) -> Sequence[Any]:
        return [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)) for c in self.strengths]
