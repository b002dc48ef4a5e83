"""Ridge regression on the labels -1 and 1 (Hoerl and Kennard 1970): least squares, shrunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.linear.method import methods


@methods.register("ridge")
@dataclass(frozen=True)
class Ridge:
    """`penalties` are those of the squared weights of standardised features."""

    penalties: tuple[float, ...] = (1e5, 1e4, 1e3, 1e2, 1e1)

    def candidates(self) -> Sequence[Any]:
        return [make_pipeline(StandardScaler(), RidgeClassifier(alpha=penalty)) for penalty in self.penalties]
