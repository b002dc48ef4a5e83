"""Preferences: a judge that knows which reply is longer, one that favours a place, and one that talks nonsense."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.evaluation.test_comparison import NO, YES, part
from workbench.errors import UsageError
from workbench.evaluation import Evaluation
from workbench.evaluation.asking import Conversation
from workbench.evaluation.preferences import preferences, preferred

SHOWN = Evaluation(
    (
        part("baseline", "harmless", [YES, YES, NO, YES]),
        part("treated", "harmless", [YES + " And more.", YES + " Then rest.", YES + " Good.", NO]),
        part("control", "harmless", [NO, YES + " Perhaps, or perhaps not.", YES, YES + " And so on."]),
    )
)


@dataclass(frozen=True)
class Told:
    """Answers by a rule over the two replies as they are shown."""

    rule: Callable[[str, str], str | None]
    name: str = "told"

    def __call__(self, conversations: Sequence[Conversation]) -> list[str | None]:
        return [self.rule(*_shown(conversation[0]["content"])) for conversation in conversations]


def _shown(text: str) -> tuple[str, str]:
    parts = [text.split(f"[BEGIN {place} ")[1].split("]\n", 1)[1].split("\n[END")[0] for place in "AB"]
    return parts[0], parts[1]


def test_what_is_preferred_both_ways_round_counts() -> None:
    longer = Told(lambda a, b: "A" if len(a) > len(b) else "B.")
    found = preferences(longer, SHOWN)
    assert [pair[:2] for pair in found].count(("treated", "baseline")) == 3
    assert [pair[:2] for pair in found].count(("baseline", "treated")) == 1
    assert len({row for *_, row in found}) == 4
    strengths = preferred(longer, SHOWN)
    assert strengths["treated"].value > strengths["baseline"].value


@pytest.mark.parametrize("answer", ["A", "B", "T", "Both are fine", "", None])
def test_a_judge_that_favours_a_place_or_says_nothing_prefers_nothing(answer: str | None) -> None:
    judge = Told(lambda a, b: answer)
    assert preferences(judge, SHOWN) == []
    with pytest.raises(UsageError, match="two players"):
        preferred(judge, SHOWN)
