"""What the model says when it is asked whether a statement is true, beside what is read in it.

    report = log P(Yes) - log P(No)        over all spellings, at the end of the prompt

A model may say Yes, or No, to nearly everything, and more readily of some things than of others. So it is asked of a
pair whether the true statement has more of a Yes than its false twin, and of the direction whether it lies higher. What
the direction knows and the report does not say is then counted: among pairs of which the report is wrong, how many the
direction has right, and the other way round; where neither knows of the other, each is as good there as anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from probes.linear.folds import topic_groups
from probes.linear.reading import auroc_draws, auroc_score, drawn_rate, topic_draws
from probes.truth.direction import TRUTH, pair_gaps, paired_accuracies
from probes.truth.statements import Statements
from workbench.display import Shown
from workbench.evaluation.yes_no import log_odds
from workbench.interventions import Recipe, steered
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts
from workbench.statistics import Score, kappa_score

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Is the following statement true? Answer with one word, Yes or No.\n\n{statement}"
WORDS = ("yes", "no")
REPORT = "self-report"


def reports(
    subject: Subject, statements: Sequence[str], recipe: Recipe | None = None, batch_size: int = 32
) -> Float64[np.ndarray, " n"]:
    """The log-odds of Yes against No to each statement, under a recipe."""
    asked = Prompts.of([QUESTION.format(statement=each) for each in statements])
    return yes_odds(subject, asked, recipe, batch_size)


def yes_odds(
    subject: Subject, asked: Prompts, recipe: Recipe | None = None, batch_size: int = 32
) -> Float64[np.ndarray, " n"]:
    """The log-odds that the reply to each question begins with Yes and not with No."""
    with steered(subject, recipe or Recipe()):
        return log_odds(subject, token_rows(subject, asked), WORDS, batch_size).numpy()


@dataclass(frozen=True, eq=False)
class SelfReport(Shown):
    """What the model says of each statement (log-odds of Yes), and what is read in it on topics left out."""

    statements: Statements
    odds: Float64[np.ndarray, " n"]
    read: Float64[np.ndarray, " n"]
    auroc: Mapping[str, Score]
    paired: Mapping[str, Score]

    def __repr__(self) -> str:
        either = [
            "none" if score is None else f"{score.format('.2f')} n={score.n}"
            for score in (self.known_unsaid, self.said_unknown)
        ]
        return (
            f"SelfReport({len(self.statements)} statements, {self.says_yes.value:.0%} answered Yes; pairs in the right "
            f"order by the report {self.paired[REPORT].format('.2f')}, by the direction "
            f"{self.paired[TRUTH].format('.2f')}; where the report is wrong the direction is right on {either[0]}, the "
            f"other way round {either[1]})"
        )

    @property
    def says_yes(self) -> Score:
        """How often the likelier answer is Yes."""
        every = np.ones(len(self.odds), dtype=bool)
        return drawn_rate("answered Yes", self.odds > 0, every, topic_draws(self._topics), "neither")

    @property
    def right(self) -> Score:
        """How often the likelier answer is right."""
        right, every = (self.odds > 0) == self.statements.true, np.ones(len(self.odds), dtype=bool)
        return drawn_rate("answered rightly", right, every, topic_draws(self._topics), "higher")

    @property
    def known_unsaid(self) -> Score | None:
        """Among pairs that the report has in no right order, those that the direction has in the right one."""
        return self._of_pairs("known where the report is wrong", self._right(self.read), ~self._right(self.odds))

    @property
    def said_unknown(self) -> Score | None:
        """Among pairs that the direction has in the wrong order, those that the report has in the right one."""
        return self._of_pairs("reported where the direction is wrong", self._right(self.odds), ~self._right(self.read))

    @property
    def agreement(self) -> Score | None:
        """Cohen's kappa of report and direction over the pairs; None where both have every pair alike."""
        said, read = ([str(right) for right in self._right(values)] for values in (self.odds, self.read))
        return kappa_score("report and direction agree", said, read) if len({*said, *read}) > 1 else None

    @property
    def _topics(self) -> Int[np.ndarray, " n"]:
        return np.unique([each.topic for each in self.statements], return_inverse=True)[1]

    def _of_pairs(self, name: str, right: Bool[np.ndarray, " pair"], among: Bool[np.ndarray, " pair"]) -> Score | None:
        """None where there are none to count among."""
        draws = topic_draws(self._topics[self.statements.pairs[:, 0]])
        return drawn_rate(name, right, among, draws, "neither") if among.any() else None

    def _right(self, values: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " pair"]:
        return pair_gaps(self.statements, values) > 0

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each statement."""
        import pandas as pd

        rows = [vars(each) for each in self.statements]
        return pd.DataFrame(rows).assign(odds=self.odds, read=self.read)

    def to_json(self) -> dict[str, Any]:
        """The measures, as plain values."""
        every = (self.says_yes, self.right, self.known_unsaid, self.said_unknown, self.agreement)
        named = {score.name: score.model_dump() for score in every if score is not None}
        by_way = {"auroc": self.auroc, "paired": self.paired}
        return (
            {"says": repr(self)}
            | named
            | {key: {name: score.model_dump() for name, score in scores.items()} for key, scores in by_way.items()}
        )

    def plot(self) -> Any:
        """Each pair by how far the true statement lies above the false one, as it is read and as it is said."""
        from workbench.plots.truth import report_figure

        denies = self.statements.denies[self.statements.pairs[:, 0]]
        read, said = (pair_gaps(self.statements, values) for values in (self.read, self.odds))
        return report_figure(read, said, {"is": ~denies, "is not": denies})


def self_report(
    statements: Statements, odds: Float64[np.ndarray, " n"], read: Float64[np.ndarray, " n"], seed: int = 0
) -> SelfReport:
    """Set what is said (log-odds) beside what is read (decisions on topics left out)."""
    true, groups = statements.true, topic_groups(statements.plain(), statements.true)
    draws = topic_draws(groups, seed)
    kinds = {"": true | ~true, ", of “is”": ~statements.denies, ", of “is not”": statements.denies}
    auroc = {
        f"{name}{kind}": auroc_score(
            f"AUROC, {name}{kind}", auroc_draws(values[rows], true[rows], groups[rows], draws[:, rows]), true[rows]
        )
        for name, values in ((REPORT, odds), (TRUTH, read))
        for kind, rows in kinds.items()
    }
    return SelfReport(statements, odds, read, auroc, paired_accuracies(statements, {TRUTH: read, REPORT: odds}, seed))
