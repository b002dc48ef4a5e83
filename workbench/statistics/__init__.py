"""Numbers with intervals: no effect is reported without its sample size and its uncertainty."""

from workbench.statistics.intervals import mean_score, rate_score
from workbench.statistics.paired import PairedTest, mcnemar
from workbench.statistics.score import Better, Score

__all__ = ["Better", "PairedTest", "Score", "mcnemar", "mean_score", "rate_score"]
