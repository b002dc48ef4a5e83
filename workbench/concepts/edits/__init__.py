"""What an edit does with one concept of a bottleneck; one file a method. They join the edits by an entry point."""

from workbench.concepts.edits.amplify_concept import AmplifyConcept
from workbench.concepts.edits.scale_concept import ScaleConcept
from workbench.concepts.edits.set_concept import SetConcept
from workbench.concepts.edits.suppress_concept import SuppressConcept

__all__ = ["AmplifyConcept", "ScaleConcept", "SetConcept", "SuppressConcept"]
