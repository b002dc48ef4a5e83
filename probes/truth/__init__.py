"""Truth: a direction between true and false statements, what it reads in answers, and what the model says itself."""

from probes.truth.direction import TruthDirection, fitted_truth, truth_direction
from probes.truth.items import TruthOnItems, read_items
from probes.truth.moving import Moved, Push, chosen_push, mean_directions, pushed
from probes.truth.polarity import Polarity, polarity, truth_and_polarity
from probes.truth.self_report import SelfReport, reports, self_report
from probes.truth.statements import Statement, Statements, builtin_statements

__all__ = [
    "Moved",
    "Polarity",
    "Push",
    "SelfReport",
    "Statement",
    "Statements",
    "TruthDirection",
    "TruthOnItems",
    "builtin_statements",
    "chosen_push",
    "fitted_truth",
    "mean_directions",
    "polarity",
    "pushed",
    "read_items",
    "reports",
    "self_report",
    "truth_and_polarity",
    "truth_direction",
]
