"""A prompt is the last turn of a conversation; a set of prompts has a content digest."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, overload

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator

from workbench.errors import PromptError, first_fault
from workbench.runs import digest_json


def _as_text(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it holds bytes that are not UTF-8")
    return text


Text = Annotated[str, AfterValidator(_as_text)]


class Turn(BaseModel):
    """An earlier turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["user", "assistant"]
    content: Text


class Prompt(BaseModel):
    """What a person says to the model, and all that stands before it.

    `text` is the user's last turn. `system` replaces the template's own default where it is given. `history`
    holds earlier turns. `prefill` is a start of the reply that the model has to go on from. `thinking` is
    handed to templates that know it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text
    label: Text | None = None
    category: Text | None = None
    source: Text | None = None
    system: Text | None = None
    history: tuple[Turn, ...] = ()
    prefill: Text = ""
    thinking: bool | None = None

    @field_validator("text")
    @classmethod
    def _has_text(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("a prompt is empty")
        return text

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as role and content, ready for a chat template."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        history = [turn.model_dump() for turn in self.history]
        return [*system, *history, {"role": "user", "content": self.text}]

    @cached_property
    def digest(self) -> str:
        """What the model reads, without label and origin."""
        return digest_json([self.messages, self.prefill, self.thinking])


def _made(name: str, **fields: object) -> Prompt:
    try:
        return Prompt.model_validate(fields)
    except ValidationError as error:
        raise PromptError(f"A prompt of {name} cannot be used ({first_fault(error)}); mend it.") from None


@dataclass(frozen=True)
class Prompts(Sequence[Prompt]):
    """An ordered set of prompts.

    A `locked` one is a test part: it is reported on, and nothing may be tuned on it (see `locks`).
    """

    items: tuple[Prompt, ...]
    name: str = "prompts"
    locked: bool = False

    @classmethod
    def of(cls, texts: Sequence[str | Prompt], label: str | None = None, name: str = "prompts") -> "Prompts":
        """Prompts from plain texts, which get the label; what is a prompt already stays as it is."""
        made = (text if isinstance(text, Prompt) else _made(name, text=text, label=label) for text in texts)
        return cls(tuple(made), name)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> "Prompts": ...
    def __getitem__(self, index: int | slice) -> "Prompt | Prompts":
        if isinstance(index, slice):
            return Prompts(self.items[index], self.name, self.locked)
        return self.items[index]

    def __repr__(self) -> str:
        return f"Prompts({self.name}, {len(self)}, {self.digest[:8]})"

    @cached_property
    def digest(self) -> str:
        return digest_json([prompt.digest for prompt in self.items])

    def changed(self, **fields: object) -> "Prompts":
        """The prompts with these fields of every one replaced, such as `system`."""
        made = tuple(_made(self.name, **(prompt.model_dump() | fields)) for prompt in self)
        return Prompts(made, self.name, self.locked)

    def pick(self, indices: Sequence[int]) -> "Prompts":
        """The prompts at `indices`, in that order."""
        return Prompts(tuple(self.items[index] for index in indices), self.name, self.locked)

    def sample(self, n: int, seed: int = 0) -> "Prompts":
        """`n` prompts drawn without replacement, evenly over the categories; all of them where n is larger.

        The order is the set's own, so that the same draw is the same digest.
        """
        if n >= len(self):
            return self
        order = np.random.default_rng(seed).permutation(len(self))
        turn: dict[str | None, int] = {}
        keys: list[tuple[int, int, int]] = []
        for index in order:
            category = self.items[int(index)].category
            turn[category] = turn.get(category, 0) + 1
            keys.append((turn[category], len(keys), int(index)))
        return self.pick(sorted(index for _, _, index in sorted(keys)[:n]))

    def without(self, digests: Collection[str]) -> "Prompts":
        """The prompts whose digest is not among `digests`."""
        return Prompts(tuple(prompt for prompt in self if prompt.digest not in digests), self.name, self.locked)

    def require(self, least: int, what: str) -> "Prompts":
        """Self, or PromptError where there are fewer than `least`."""
        if len(self) < least:
            raise PromptError(f"{what} needs at least {least} prompts and {self.name} has {len(self)}; add some.")
        return self


@dataclass(frozen=True)
class ContrastPairs:
    """Two sides of a behaviour: `positive` shows it (harmful requests, for refusal), `negative` does not."""

    positive: Prompts
    negative: Prompts

    def __post_init__(self) -> None:
        for side, prompts in (("positive", self.positive), ("negative", self.negative)):
            if len(prompts) == 0:
                raise PromptError(f"The {side} side of the contrast is empty; give prompts for both sides.")

    @property
    def digest(self) -> str:
        return digest_json([self.positive.digest, self.negative.digest])

    def sample(self, n: int, seed: int = 0) -> "ContrastPairs":
        """`n` prompts of each side, drawn as `Prompts.sample` draws them."""
        return ContrastPairs(self.positive.sample(n, seed), self.negative.sample(n, seed))
