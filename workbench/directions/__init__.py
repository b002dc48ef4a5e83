"""A line in activation space: directions, their geometry, and the methods that extract them."""

from workbench.directions.direction import Direction
from workbench.directions.extraction import Extractor, extract_directions
from workbench.directions.geometry import matched_random, random_unit

__all__ = ["Direction", "Extractor", "extract_directions", "matched_random", "random_unit"]
