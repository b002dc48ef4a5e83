"""A method that lays points into a plane, and how faithful its picture is.

A picture tells of neighbours at best: trustworthiness (Venna and Kaski 2001) is 1 where all that are near in the plane
are near among the points too, and about 0.5 where the plane is drawn at random.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from sklearn.manifold import trustworthiness

from workbench.errors import UsageError
from workbench.registry import Registry

_NEIGHBOURS = 10


@runtime_checkable
class PlaneMethod(Protocol):
    """Lays points into a plane; `linear` where distances in the plane are shadows of distances among the points."""

    linear: ClassVar[bool]

    def __call__(self, points: Float64[np.ndarray, "example d"]) -> Float64[np.ndarray, "example 2"]: ...


planes: "Registry[type[Any]]" = Registry("plane", "probes.geometry.planes", "workbench.planes")


def faith(points: Float64[np.ndarray, "example d"], plane: Float64[np.ndarray, "example 2"]) -> float:
    """The trustworthiness of a plane, of ten neighbours or as many as there can be; NaN below four points."""
    n = min(_NEIGHBOURS, (len(points) - 1) // 2)
    return float(trustworthiness(points, plane, n_neighbors=n)) if n > 0 and len(points) > 3 else float("nan")


def missing(method: str, package: str) -> UsageError:
    """What to say where the package behind a method is not installed."""
    return UsageError(f"The {method} plane needs {package}; install it with: pip install 'alignment-workbench[planes]'")
