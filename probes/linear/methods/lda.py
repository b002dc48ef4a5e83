"""Linear discriminant analysis (Fisher 1936), its covariance shrunk after Ledoit and Wolf (2004).

The shrinkage is computed, so nothing is chosen on folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.linear.method import methods


@methods.register("lda")
@dataclass(frozen=True)
class LinearDiscriminant:
    """`shrinkage` from 0 (the covariance as it is) to 1 (its diagonal); None computes it."""

    shrinkage: float | None = None

    def candidates(self) -> Sequence[Any]:
        shrinkage = "auto" if self.shrinkage is None else self.shrinkage
        return [make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage))]
