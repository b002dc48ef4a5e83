"""PaCMAP (Wang et al. 2021): near, middling and far pairs, so that groups keep their places. Extra: `planes`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from probes.geometry.plane import missing, planes


@planes.register("pacmap")
@dataclass(frozen=True)
class PaCMap:
    """`neighbours` is how many points are near."""

    linear: ClassVar[bool] = False
    neighbours: int = 10
    seed: int = 0

    def __call__(self, points: Float64[np.ndarray, "example d"]) -> Float64[np.ndarray, "example 2"]:
        try:
            from pacmap import PaCMAP
        except ImportError:
            raise missing("pacmap", "pacmap") from None
        near = min(self.neighbours, len(points) - 1)
        made = PaCMAP(n_components=2, n_neighbors=near, random_state=self.seed)
        return np.asarray(made.fit_transform(points.astype(np.float32)), dtype=np.float64)
