"""What an edit changed: judged replies, metrics, controls, and the comparison of conditions."""

from workbench.evaluation.comparison import Evaluation
from workbench.evaluation.holdout import unseen
from workbench.evaluation.judges import Exchange, Judge, Verdict, judges, make_judge
from workbench.evaluation.measuring import Settings, evaluate, measure
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, Observed, metrics
from workbench.evaluation.outcomes import Outcome, is_broken
from workbench.evaluation.recorded import record_evaluation
from workbench.evaluation.rederiving import rederive
from workbench.evaluation.replies import Judged, Measured

__all__ = [
    "Evaluation",
    "Exchange",
    "Ground",
    "Item",
    "Judge",
    "Judged",
    "Measure",
    "Measured",
    "Metric",
    "Observed",
    "Outcome",
    "Settings",
    "Verdict",
    "evaluate",
    "is_broken",
    "judges",
    "make_judge",
    "measure",
    "metrics",
    "record_evaluation",
    "rederive",
    "unseen",
]
