"""The shape of two classes in every layer: a table, planes, and the tokens that a direction points to."""

from probes.geometry.projection import Projection, project, projection_of
from probes.geometry.table import GeometryTable, geometry, geometry_of
from probes.geometry.vocabulary import Vocabulary, vocabulary_of

__all__ = [
    "GeometryTable",
    "Projection",
    "Vocabulary",
    "geometry",
    "geometry_of",
    "project",
    "projection_of",
    "vocabulary_of",
]
