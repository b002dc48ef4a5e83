"""True and false statements of which nothing but the fact tells which is which, after Marks and Tegmark 2023
(arXiv:2310.06824) and Bürger et al. 2024 (arXiv:2407.12831).

    The city of Lima is in Peru.       true        The city of Lima is not in Peru.       false
    The city of Lima is in Germany.    false       The city of Lima is not in Germany.    true

A fact gives a pair of one template, its true and its false statement, and again with "not". Whatever stands in either
place of the template stands there as often truly as falsely (where two things are compared, in either order), so that
words tell nothing. Sixteen topics; a topic's words are its own, nearly. The statements are plain facts of schoolbooks.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import overload

import numpy as np
from jaxtyping import Bool, Int
from pydantic import BaseModel, ConfigDict, Field

from workbench.prompts import Prompt, Prompts

ASKED = "Tell me a fact."


class Topic(BaseModel):
    """How a topic is said and denied, what is true of what, and how the false twins are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    says: str
    denies: str
    facts: tuple[tuple[str, str], ...]
    shift: int = Field(default=0, ge=0)
    swapped: bool = Field(default=False)

    def pairs(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Each fact, and its false twin."""
        if self.swapped:
            return [(fact, (fact[1], fact[0])) for fact in self.facts]
        later = [self.facts[(place + self.shift) % len(self.facts)] for place in range(len(self.facts))]
        return [(fact, (fact[0], other[1])) for fact, other in zip(self.facts, later, strict=True)]


@dataclass(frozen=True)
class Statement:
    """A sentence, whether it is true, and whether it denies; `pair` is common to the true one and its false twin."""

    text: str
    true: bool
    denies: bool
    topic: str
    pair: str


@dataclass(frozen=True)
class Statements(Sequence[Statement]):
    """Statements of several topics, pairs side by side."""

    items: tuple[Statement, ...]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Statement: ...
    @overload
    def __getitem__(self, index: slice) -> "Statements": ...
    def __getitem__(self, index: int | slice) -> "Statement | Statements":
        return Statements(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __repr__(self) -> str:
        return f"Statements({len(self)} of {len(self.topics)} topics, {int(self.true.sum())} true)"

    @property
    def true(self) -> Bool[np.ndarray, " n"]:
        return np.array([each.true for each in self.items], dtype=bool)

    @property
    def denies(self) -> Bool[np.ndarray, " n"]:
        return np.array([each.denies for each in self.items], dtype=bool)

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.items]

    @property
    def topics(self) -> tuple[str, ...]:
        """Their names, once each."""
        return tuple(dict.fromkeys(each.topic for each in self.items))

    @property
    def pairs(self) -> Int[np.ndarray, "pair 2"]:
        """The rows of each true statement and of its false twin."""
        found: dict[str, dict[bool, int]] = {}
        for row, each in enumerate(self.items):
            found.setdefault(each.pair, {})[each.true] = row
        return np.array([(both[True], both[False]) for both in found.values()])

    def of_topics(self, names: Iterable[str]) -> "Statements":
        """Those of some topics."""
        wanted = set(names)
        return Statements(tuple(each for each in self.items if each.topic in wanted))

    def where(self, *, denies: bool) -> "Statements":
        """Those that deny, or those that do not."""
        return Statements(tuple(each for each in self.items if each.denies is denies))

    def plain(self) -> Prompts:
        """The sentences themselves, by topic."""
        made = (
            Prompt(text=each.text, label="true" if each.true else "false", category=each.topic, source="built-in")
            for each in self.items
        )
        return Prompts(tuple(made), "statements")

    def said(self) -> Prompts:
        """As the model's own reply when it is asked for a fact, so that its last token is the full stop."""
        return replies([(ASKED, each.text) for each in self.items])


def replies(exchanges: Iterable[tuple[str, str]]) -> Prompts:
    """What is asked, and what the model is made to have said."""
    return Prompts(tuple(Prompt(text=asked, prefill=said) for asked, said in exchanges), "replies")


@cache
def builtin_topics() -> tuple[Topic, ...]:
    text = files("probes.truth").joinpath("data", "statements.toml").read_text(encoding="utf-8")
    return tuple(Topic.model_validate(topic) for topic in tomllib.loads(text)["topic"])


@cache
def builtin_statements() -> Statements:
    """All 768 of them: 16 topics, 12 facts, true and false, said and denied."""
    return statements_of(builtin_topics())


def statements_of(topics: Iterable[Topic]) -> Statements:
    """Four statements of each fact."""
    found = []
    for topic in topics:
        for number, (fact, twin) in enumerate(topic.pairs()):
            for denies, template in ((False, topic.says), (True, topic.denies)):
                pair = f"{topic.name}/{number}/{'denied' if denies else 'said'}"
                for words, holds in ((fact, True), (twin, False)):
                    found.append(Statement(template.format(*words), holds is not denies, denies, topic.name, pair))
    return Statements(tuple(found))
