"""A line in activation space: directions, their geometry, the methods that extract them, and what is read off them."""

from pathlib import Path

from workbench.directions.asset import Asset, assets, kind_of
from workbench.directions.direction import Direction
from workbench.directions.extraction import Extractor, extract_directions
from workbench.directions.geometry import matched_random, orthonormal, random_unit
from workbench.directions.readout import Readout
from workbench.directions.readouts.coordinate import Coordinate
from workbench.directions.readouts.cosine import Cosine
from workbench.directions.sparse import Feature, SparseAutoencoder
from workbench.directions.stored import StoredActivation

__all__ = [
    "Asset",
    "Coordinate",
    "Cosine",
    "Direction",
    "Extractor",
    "Feature",
    "Readout",
    "SparseAutoencoder",
    "StoredActivation",
    "assets",
    "extract_directions",
    "load_asset",
    "matched_random",
    "orthonormal",
    "random_unit",
]


def load_asset(path: Path) -> Asset:
    """A direction (also of a find run's folder), or whatever else of the registered kinds the file says it is."""
    said = kind_of(path) if path.is_file() else None
    found: Asset = (assets[said] if said in list(assets) else Direction).load(path)
    return found
