"""Which direction: score the candidates by running the model, and choose by the paper's rule."""

from workbench.evaluation.refusal import refusal_metric
from workbench.search.choosing import Choice, choose, pareto_front
from workbench.search.finding import Found, find_direction
from workbench.search.recorded import record_candidate, record_find, rederive_find
from workbench.search.settings import SearchSettings

__all__ = [
    "Choice",
    "Found",
    "SearchSettings",
    "choose",
    "find_direction",
    "pareto_front",
    "record_candidate",
    "record_find",
    "rederive_find",
    "refusal_metric",
]
