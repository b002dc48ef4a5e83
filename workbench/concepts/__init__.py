"""A concept bottleneck on any model: known concepts, discovered ones and what is left; read, attribute and steer."""

from workbench.concepts.attribution import Attribution, attribute
from workbench.concepts.bottleneck import Bottleneck, Reading
from workbench.concepts.edits import AmplifyConcept, ScaleConcept, SetConcept, SuppressConcept
from workbench.concepts.explaining import Explanation, explain
from workbench.concepts.handle import ConceptHandle
from workbench.concepts.informing import Informed, informed_by, informed_replies
from workbench.concepts.labelling import asked_labels, asked_odds, feature_labels
from workbench.concepts.labels import Concept, ConceptSet, builtin_concepts, load_concepts
from workbench.concepts.naming import Discovered, discovered_in, name_discovered, search_concepts
from workbench.concepts.recording import record_bottleneck, rederive_bottleneck
from workbench.concepts.settings import ConceptSettings
from workbench.concepts.training import train_bottleneck

__all__ = [
    "AmplifyConcept",
    "Attribution",
    "Bottleneck",
    "Concept",
    "ConceptHandle",
    "ConceptSet",
    "ConceptSettings",
    "Discovered",
    "Explanation",
    "Informed",
    "Reading",
    "ScaleConcept",
    "SetConcept",
    "SuppressConcept",
    "asked_labels",
    "asked_odds",
    "attribute",
    "builtin_concepts",
    "discovered_in",
    "explain",
    "feature_labels",
    "informed_by",
    "informed_replies",
    "load_concepts",
    "name_discovered",
    "record_bottleneck",
    "rederive_bottleneck",
    "search_concepts",
    "train_bottleneck",
]
