"""Every layer in a plane, turned so that a layer's picture goes on from the one before.

1. PCA of the layer's points to two components; centred, distances in the plane as they are.
2. The sign and order of components are arbitrary, so points would flip as a slider moves. Each layer's plane is turned
   (and mirrored) by the orthogonal R that minimises |P R - Q|, Q the layer before (Procrustes; Schoenemann 1966).

R keeps all distances. The axes are after it no components any more: `explained` is of the plane's components before.
A plane shows a small share of the variance, so classes that overlap in it may be apart; UMAP and PaCMAP are left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from probes.geometry.table import capture_classes, check_classes, points_at
from workbench.activations import Activations
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 2  # points of a class


@dataclass(frozen=True, eq=False)
class Projection:
    """Where each prompt lies in the plane of each layer; `explained` are the shares of variance of its components."""

    sites: tuple[Site, ...]
    points: Float64[np.ndarray, "layer example 2"]
    explained: Float64[np.ndarray, "layer 2"]
    positive: Bool[np.ndarray, " example"]
    texts: tuple[str, ...]

    def __repr__(self) -> str:
        low, high = (100 * end(self.explained.sum(axis=1)) for end in (np.min, np.max))
        return (
            f"Projection({len(self.sites)} layers, {len(self.texts)} prompts; two components hold {low:.0f} to "
            f"{high:.0f} % of the variance)"
        )

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each layer and prompt."""
        import pandas as pd

        rows = [
            {"layer": site.layer, "x": x, "y": y, "positive": bool(label), "text": text}
            for site, plane in zip(self.sites, self.points, strict=True)
            for (x, y), label, text in zip(plane, self.positive, self.texts, strict=True)
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The planes with a slider over layers; the pointer shows a point's prompt."""
        from workbench.plots.geometry import planes_figure

        return planes_figure(
            self.points, self.explained, [site.layer for site in self.sites], self.positive, self.texts
        )


def project(subject: Subject, pairs: ContrastPairs, *, position: int = -1, batch_size: int = 32) -> Projection:
    """The planes of `pairs` after every block of `subject`."""
    acts, positive = capture_classes(subject, pairs, position=position, batch_size=batch_size)
    texts = tuple(prompt.text for side in (pairs.positive, pairs.negative) for prompt in side)
    return projection_of(acts, positive, texts, position=position)


def projection_of(
    acts: Activations, positive: Bool[np.ndarray, " example"], texts: tuple[str, ...], *, position: int = -1
) -> Projection:
    """The planes of activations that are there already.

    Raises CaptureError where there is one class only, or a layer's points are all the same or not finite.
    """
    check_classes(positive, _LEAST)
    planes: list[np.ndarray] = []
    explained = []
    for site in acts.sites:
        fitted = PCA(n_components=2, svd_solver="full")
        plane = fitted.fit_transform(points_at(acts, site, position))
        planes.append(aligned(plane, planes[-1]) if planes else plane)
        explained.append(fitted.explained_variance_ratio_)
    return Projection(acts.sites, np.stack(planes), np.stack(explained), positive, texts)


def aligned(
    plane: Float64[np.ndarray, "example k"], before: Float64[np.ndarray, "example k"]
) -> Float64[np.ndarray, "example k"]:
    """`plane` turned and mirrored to lie as near to `before` as can be; distances stay."""
    turn, _ = orthogonal_procrustes(plane, before)
    return np.asarray(plane @ turn)
