"""Numbers with intervals: no effect is reported without its sample size and its uncertainty."""

from workbench.statistics.agreement import kappa_score
from workbench.statistics.corrections import holm
from workbench.statistics.intervals import gap_interval, mean_score, rate_score, score_of
from workbench.statistics.paired import Difference, PairedTest, mcnemar, paired_difference
from workbench.statistics.planning import least_n_for_mean, least_n_for_rate
from workbench.statistics.score import Better, Score
from workbench.statistics.tournament import bradley_terry

__all__ = [
    "Better",
    "Difference",
    "PairedTest",
    "Score",
    "bradley_terry",
    "gap_interval",
    "holm",
    "kappa_score",
    "least_n_for_mean",
    "least_n_for_rate",
    "mcnemar",
    "mean_score",
    "paired_difference",
    "rate_score",
    "score_of",
]
