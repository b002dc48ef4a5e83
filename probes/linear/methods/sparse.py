"""A line along few features: an L1 penalty on the weights, with the squared hinge (Zhu et al. 2003).

Scikit-learn's logistic regression asks for an L1 penalty in other words from version to version; this one does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from probes.linear.method import methods


@methods.register("sparse")
@dataclass(frozen=True)
class Sparse:
    """`strengths` are scikit-learn's C, the inverse of the penalty."""

    strengths: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)

    def candidates(self) -> Sequence[Any]:
        return [
            make_pipeline(StandardScaler(), LinearSVC(C=c, penalty="l1", dual=False, max_iter=5000, random_state=0))
            for c in self.strengths
        ]
