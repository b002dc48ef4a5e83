"""Principal components: the plane that holds most of the variance; distances in it as they are (Pearson 1901)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from sklearn.decomposition import PCA

from probes.geometry.plane import planes


@planes.register("pca")
@dataclass(frozen=True)
class PrincipalComponents:
    """It has no options."""

    linear: ClassVar[bool] = True

    def __call__(self, points: Float64[np.ndarray, "example d"]) -> Float64[np.ndarray, "example 2"]:
        return np.asarray(PCA(n_components=2, svd_solver="full").fit_transform(points), dtype=np.float64)
