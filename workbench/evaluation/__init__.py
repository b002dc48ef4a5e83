"""What an edit changed: judged replies, divergence from the base model, and the comparison of conditions."""

from workbench.evaluation.comparison import Comparison, Evaluation, Measured
from workbench.evaluation.holdout import unseen
from workbench.evaluation.judges import Judge
from workbench.evaluation.measuring import evaluate, measure
from workbench.evaluation.outcomes import Outcome, is_broken
from workbench.evaluation.recorded import record_evaluation
from workbench.evaluation.rederiving import rederive

__all__ = [
    "Comparison",
    "Evaluation",
    "Judge",
    "Measured",
    "Outcome",
    "evaluate",
    "is_broken",
    "measure",
    "record_evaluation",
    "rederive",
    "unseen",
]
