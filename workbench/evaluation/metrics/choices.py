"""A built-in multiple-choice set: easy questions over many topics, answered by likelihood, so that damage shows.

    the option o with the highest  log p(" " + o | "Question: q\\nAnswer:") / characters of o

(length-normalised accuracy, as in lm-eval's acc_norm). The options are not shown to the model, so no letter is
preferred; beside the accuracy stands the margin by which the right option leads, which moves before it does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from workbench.evaluation.continuations import as_question, continuation_logprobs
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.interventions import Recipe
from workbench.runs import digest_json


@dataclass(frozen=True)
class Choice:
    """A question, its options, and which of them is right."""

    question: str
    options: tuple[str, ...]
    answer: int
    topic: str

    @property
    def key(self) -> str:
        return digest_json([self.question, self.options])[:16]

    @property
    def text(self) -> str:
        """What the model reads before an option."""
        return f"Question: {self.question}\nAnswer:"


@metrics.register("choices")
@dataclass(frozen=True)
class Choices(Metric):
    """Accuracy and margin on the built-in questions."""

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("accuracy", "rate", "higher", "questions", "the right option is the likeliest, a character"),
        Measure("margin", "mean", "higher", "nats", "log-probability a character, right option less best wrong one"),
    )

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"data": digest_json([choice.key for choice in choices()])[:16]}

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        asked = [as_question(ground.subject, c.text, [f" {option}" for option in c.options]) for c in choices()]
        found = continuation_logprobs(ground.subject, recipe, asked, ground.batch_size)
        return [_item(choice, answers) for choice, answers in zip(choices(), found, strict=True)]


def _item(choice: Choice, answers: Sequence[Sequence[float]]) -> Item:
    each = [sum(tokens) / len(option) for tokens, option in zip(answers, choice.options, strict=True)]
    margin = each[choice.answer] - max(value for place, value in enumerate(each) if place != choice.answer)
    return Item(key=choice.key, values={"accuracy": float(margin > 0), "margin": margin})


@cache
def choices() -> tuple[Choice, ...]:
    """The built-in questions."""
    text = files("workbench.evaluation").joinpath("data", "choices.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return tuple(Choice(r["question"], tuple(r["options"]), r["answer"], r["topic"]) for r in rows)
