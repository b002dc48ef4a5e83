"""Every layer in a plane, turned so that a layer's picture goes on from the one before.

1. A registered method lays the layer's points into a plane: principal components, UMAP or PaCMAP.
2. Its axes are arbitrary, so points would flip as a slider moves. Each layer's plane is turned (and mirrored) by the
   orthogonal R that minimises |P R - Q|, Q the layer before (Procrustes; Schoenemann 1966).

R keeps all distances in the plane. Beside each plane stand its trustworthiness and, where the method is linear, the
share of the variance that it holds; classes that overlap in it may be apart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import orthogonal_procrustes

from probes.geometry.plane import PlaneMethod, faith, planes
from probes.geometry.table import capture_classes, check_classes, points_at
from workbench.activations import Activations
from workbench.display import Shown
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs
from workbench.runs import track

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 2  # points of a class


@dataclass(frozen=True, eq=False)
class Projection(Shown):
    """Where each prompt lies in the plane of each layer.

    `faith` is the trustworthiness of each plane, `held` the share of variance that it holds; None where the method is
    not linear.
    """

    sites: tuple[Site, ...]
    points: Float64[np.ndarray, "layer example 2"]
    faith: tuple[float, ...]
    held: tuple[float, ...] | None
    positive: Bool[np.ndarray, " example"]
    texts: tuple[str, ...]
    method: str

    def __repr__(self) -> str:
        held = f", {100 * min(self.held):.0f} to {100 * max(self.held):.0f} % of the variance" if self.held else ""
        return (
            f"Projection({self.method}, {len(self.sites)} layers, {len(self.texts)} prompts; trustworthiness "
            f"{min(self.faith):.2f} to {max(self.faith):.2f}{held})"
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

        layers = [site.layer for site in self.sites]
        return planes_figure(
            self.points, layers, self.positive, self.texts, method=self.method, faith=self.faith, held=self.held
        )

    def plain(self) -> dict[str, Any]:
        """The same as plain values; points have five digits, more than a picture shows."""
        rounded = [[[float(f"{at:.5g}") for at in point] for point in plane] for plane in self.points.tolist()]
        return {
            "method": self.method, "layers": [site.layer for site in self.sites], "points": rounded,
            "faith": list(self.faith), "held": None if self.held is None else list(self.held),
            "positive": self.positive.tolist(), "texts": list(self.texts),
        }  # fmt: skip


def project(
    subject: Subject,
    pairs: ContrastPairs,
    *,
    position: int = -1,
    method: PlaneMethod | str = "pca",
    batch_size: int = 32,
) -> Projection:
    """The planes of `pairs` after every block of `subject`."""
    acts, positive = capture_classes(subject, pairs, position=position, batch_size=batch_size)
    texts = tuple(prompt.text for side in (pairs.positive, pairs.negative) for prompt in side)
    return projection_of(acts, positive, texts, position=position, method=method)


def projection_of(
    acts: Activations,
    positive: Bool[np.ndarray, " example"],
    texts: tuple[str, ...],
    *,
    position: int = -1,
    method: PlaneMethod | str = "pca",
) -> Projection:
    """The planes of activations that are there already.

    Raises CaptureError where there is one class only, or a layer's points are all the same or not finite; UsageError
    where the method's package is not installed.
    """
    check_classes(positive, _LEAST)
    made: Any = planes[method]() if isinstance(method, str) else method
    flat: list[np.ndarray] = []
    trusted, held = [], []
    for site in track(acts.sites, "Laying every layer into a plane"):
        points = points_at(acts, site, position)
        plane = made(points)
        plane = plane - plane.mean(axis=0)
        flat.append(aligned(plane, flat[-1]) if flat else plane)
        trusted.append(faith(points, plane))
        held.append(float(plane.var(axis=0).sum() / points.var(axis=0).sum()))
    shares = tuple(held) if made.linear else None
    return Projection(acts.sites, np.stack(flat), tuple(trusted), shares, positive, texts, planes.name_of(made))


def aligned(
    plane: Float64[np.ndarray, "example k"], before: Float64[np.ndarray, "example k"]
) -> Float64[np.ndarray, "example k"]:
    """`plane` turned and mirrored to lie as near to `before` as can be; distances stay."""
    turn, _ = orthogonal_procrustes(plane, before)
    return np.asarray(plane @ turn)
