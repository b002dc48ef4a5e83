"""The shelf's directions as plain arrays, read without torch: where each was found, and their cosines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from workbench.dashboard import shelf
from workbench.plots.atlas import Place

_STREAM = ".resid_pre"


@dataclass(frozen=True)
class Vector:
    """A direction of the shelf: its name, where it was found and how, and its unit vector."""

    name: str
    origin: str
    site: str
    position: int | None
    method: str
    unit: Float64[np.ndarray, " d_model"]

    @property
    def place(self) -> Place | None:
        """Its position and layer, where it was found at a block's input."""
        layer = self.site.removesuffix(_STREAM)
        return (self.position, int(layer)) if self.site.endswith(_STREAM) and layer.isdigit() else None


def vectors(model: str) -> dict[str, Vector]:
    """The directions at hand for the model of this digest, by name; what cannot be read is left out."""
    found = {}
    for name, each in shelf.shelf(model).items():
        held = _read(each.path, each.path.stat().st_mtime_ns)
        if held is not None:
            found[name] = Vector(name, each.origin, each.site, *held)
    return found


def cosines(held: Mapping[str, Vector]) -> Float64[np.ndarray, "n n"]:
    """Each with each; they are of length one."""
    units = np.stack([vector.unit for vector in held.values()])
    return units @ units.T


def random_reach(d_model: int) -> float:
    """The size that the cosine of two random directions has at most, in 95 of 100 cases."""
    return 1.96 / sqrt(d_model)


@lru_cache(maxsize=256)
def _read(path: Path, written: int) -> tuple[int | None, str, np.ndarray] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as opened:
            said, unit = json.loads(opened.metadata()["direction"]), opened.get_tensor("unit")
        position = None if said["position"] is None else int(said["position"])
        return position, str(said["method"]), unit.astype(np.float64)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
