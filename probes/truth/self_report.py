"""What the model says when it is asked whether a statement is true, beside what is read in it.

    report = log P(Yes) - log P(No)        first tokens of all spellings, at the end of the prompt

A model may say Yes to nearly everything, so that where it says Yes is no fair threshold. Report and reading are each
put in class gaps of the statements of other topics (0: the mean of false ones, 1: of true ones), and either calls a
statement true above the middle. What the direction knows and the report does not say is then counted: among statements
of which the report is wrong, how many are read rightly, and the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float64

from probes.linear.folds import topic_groups
from probes.linear.reading import auroc_draws, auroc_score, topic_draws
from probes.linear.validation import in_gaps
from probes.truth.statements import Statements
from workbench.interventions import Recipe, steered
from workbench.models import Subject, token_rows
from workbench.models.chat import encode
from workbench.prompts import Prompts
from workbench.statistics import Score, kappa_score, rate_score

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Is the following statement true? Answer with one word, Yes or No.\n\n{statement}"
WORDS = ("Yes", "No")
_MIDDLE = 0.5


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
    yes, no = (first_tokens(subject, word) for word in WORDS)
    groups, batches = zip(*subject.batches(token_rows(subject, asked), batch_size), strict=True)
    with steered(subject, recipe or Recipe()):
        logits = [part.double().log_softmax(dim=-1).cpu() for part in subject.last_logits(batches)]
    found = torch.empty(len(asked), dtype=torch.float64)
    for rows, part in zip(groups, logits, strict=True):
        found[rows] = part[:, yes].logsumexp(dim=-1) - part[:, no].logsumexp(dim=-1)
    return found.numpy()


def first_tokens(subject: Subject, word: str) -> list[int]:
    """The tokens that a word may begin with, in small letters or capitals, with a space or without."""
    forms = (word, word.lower(), f" {word}", f" {word.lower()}")
    return sorted({encode(subject, form)[0] for form in forms})


@dataclass(frozen=True, eq=False)
class SelfReport:
    """What is true, what the model says of it and what is read, the latter two in class gaps of other topics."""

    statements: Statements
    odds: Float64[np.ndarray, " n"]
    said: Float64[np.ndarray, " n"]
    read: Float64[np.ndarray, " n"]
    auroc: dict[str, Score]

    def __repr__(self) -> str:
        either = [
            "none" if score is None else f"{score.format('.2f')} n={score.n}"
            for score in (self.known_unsaid, self.said_unknown)
        ]
        return (
            f"SelfReport({len(self.statements)} statements, {self.says_yes.value:.0%} answered Yes; AUROC of the "
            f"report {self.auroc['report'].format('.2f')}, of the direction {self.auroc['direction'].format('.2f')}; "
            f"where the report is wrong the direction is right on {either[0]}, the other way round {either[1]})"
        )

    @property
    def says_yes(self) -> Score:
        """How often the likelier answer is Yes."""
        return rate_score("answered Yes", int((self.odds > 0).sum()), len(self.odds))

    @property
    def right(self) -> Score:
        """How often the likelier answer is right, as it is said."""
        return rate_score("answered rightly", int(((self.odds > 0) == self._true).sum()), len(self.odds), "higher")

    @property
    def known_unsaid(self) -> Score | None:
        """Among statements that the report has wrong, those that the direction has right."""
        return _rate("read rightly where the report is wrong", self._right(self.read), ~self._right(self.said))

    @property
    def said_unknown(self) -> Score | None:
        """Among statements that the direction has wrong, those that the report has right."""
        return _rate("reported rightly where the direction is wrong", self._right(self.said), ~self._right(self.read))

    @property
    def agreement(self) -> Score:
        """Cohen's kappa of report and reading: how much they agree beyond chance."""
        said, read = ([str(value > _MIDDLE) for value in values] for values in (self.said, self.read))
        return kappa_score("report and direction agree", said, read)

    @property
    def _true(self) -> Bool[np.ndarray, " n"]:
        return self.statements.true

    def _right(self, values: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        return (values > _MIDDLE) == self._true

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each statement."""
        import pandas as pd

        rows = [vars(each) for each in self.statements]
        return pd.DataFrame(rows).assign(odds=self.odds, said=self.said, read=self.read)

    def to_json(self) -> dict[str, Any]:
        """The measures, as plain values."""
        every = (self.says_yes, self.right, self.known_unsaid, self.said_unknown, self.agreement)
        scores = [score for score in every if score is not None]
        auroc = {name: score.model_dump() for name, score in self.auroc.items()}
        return {"says": repr(self), "auroc": auroc} | {score.name: score.model_dump() for score in scores}

    def plot(self) -> Any:
        """Each statement by what is read and what is said of it."""
        from workbench.plots.truth import report_figure

        return report_figure(self.read, self.said, self._true)


def _rate(name: str, right: Bool[np.ndarray, " n"], among: Bool[np.ndarray, " n"]) -> Score | None:
    """None where there are none to count among."""
    return rate_score(name, int((right & among).sum()), int(among.sum())) if among.any() else None


def self_report(
    statements: Statements, odds: Float64[np.ndarray, " n"], read: Float64[np.ndarray, " n"], seed: int = 0
) -> SelfReport:
    """Set what is said (log-odds) beside what is read (decisions on topics left out)."""
    true, groups = statements.true, topic_groups(statements.plain(), statements.true)
    said = np.empty(len(odds))
    for topic in np.unique(groups):
        apart = groups == topic
        said[apart] = in_gaps(odds[apart], odds[~apart], true[~apart])
    draws = topic_draws(groups, seed)
    auroc = {
        f"{name}{kind}": auroc_score(
            f"AUROC, {name}{kind}", auroc_draws(values[rows], true[rows], groups[rows], draws[:, rows]), true[rows]
        )
        for name, values in (("report", said), ("direction", read))
        for kind, rows in (("", true | ~true), (", that say", ~statements.denies), (", that deny", statements.denies))
    }
    return SelfReport(statements, odds, said, read, auroc)
