"""UMAP (McInnes et al. 2018): neighbours stay neighbours; distances between groups mean little. Extra: `planes`."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from probes.geometry.plane import missing, planes


@planes.register("umap")
@dataclass(frozen=True)
class Umap:
    """`neighbours` is how many points are near; more shows the whole, fewer the details."""

    linear: ClassVar[bool] = False
    neighbours: int = 15
    seed: int = 0

    def __call__(self, points: Float64[np.ndarray, "example d"]) -> Float64[np.ndarray, "example 2"]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ImportWarning)  # of a part that needs tensorflow
                from umap import UMAP
        except ImportError:
            raise missing("umap", "umap-learn") from None
        near = min(self.neighbours, len(points) - 1)
        # A spectral start needs more points than it has components to solve for; few points start from their PCA.
        made = UMAP(n_neighbors=near, init="pca", random_state=self.seed, n_jobs=1)
        return np.asarray(made.fit_transform(points), dtype=np.float64)
