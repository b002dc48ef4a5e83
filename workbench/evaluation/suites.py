"""Suites: what an evaluation measures, and against which controls.

quick   replies to harmful and harmless prompts, and the divergence at their first token: a few minutes on two cores
full    the same, looks-harmful prompts, refusal against reply length, divergence at every position, cross-entropy,
        multiple choice, TruthfulQA, the refusal metric that the search saw, other directions; three controls
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.errors import UsageError
from workbench.evaluation.metrics import Metric, metric_by_name, metrics
from workbench.evaluation.metrics.choices import Choices
from workbench.evaluation.metrics.divergence import Divergence
from workbench.evaluation.metrics.first_token import FirstToken
from workbench.evaluation.metrics.language import Language
from workbench.evaluation.metrics.refusal_odds import RefusalOdds
from workbench.evaluation.metrics.truthfulqa import TruthfulQA


@dataclass(frozen=True)
class Suite:
    """Which sets are asked, by which metrics is measured, at which lengths of reply; which controls are run.

    Replies are `max_new_tokens` long; those to harmful prompts as long as the longest of `lengths`, where that is more.
    """

    sets: tuple[str, ...]
    metrics: tuple[Metric, ...]
    lengths: tuple[int, ...] = ()
    all_controls: bool = False

    def tokens(self, asked: str, max_new_tokens: int) -> int:
        """How long the replies to a set are."""
        return max((max_new_tokens, *self.lengths)) if asked == "harmful" else max_new_tokens

    def to_json(self) -> dict[str, Any]:
        """What decides the replies, for manifests."""
        return {"lengths": list(self.lengths), "all_controls": self.all_controls}

    def cuts(self, asked: str) -> tuple[int, ...]:
        """At which lengths replies to a set are judged too."""
        return self.lengths if asked == "harmful" else ()


SUITES: Mapping[str, Suite] = {
    "quick": Suite(("harmful", "harmless"), (FirstToken(),)),
    "full": Suite(
        ("harmful", "harmless", "looks-harmful"),
        (Divergence(), Language(), Choices(), TruthfulQA(), RefusalOdds()),
        lengths=(16, 32, 64, 128, 256),
        all_controls=True,
    ),
}


def suite(name: str) -> Suite:
    """The suite of that name.

    Raises UsageError where there is none.
    """
    if name not in SUITES:
        raise UsageError(f"There is no suite {name!r}; there are: {', '.join(SUITES)}.")
    return SUITES[name]


def suite_with(name: str, more: Sequence[str]) -> Suite:
    """The suite of that name, and after its own metrics those that are named beside them.

    Raises UsageError where there is no such suite or metric, or a metric's name alone does not say what it measures.
    """
    chosen = suite(name)
    own = {metrics.name_of(metric) for metric in chosen.metrics}
    added = (metric_by_name(each) for each in dict.fromkeys(more) if each not in own)
    return replace(chosen, metrics=(*chosen.metrics, *added))
