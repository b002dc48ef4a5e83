"""A message to the model, answered in columns: every column has its recipe and its own past, all are one batch.

The worker writes tokens as they come; pages read what is there. A recipe that is changed meanwhile holds from the next
token on. Recipes are asked for in their written form, which is also what is kept of them.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.dashboard.engine.jobs import Job
from workbench.errors import PromptError, UsageError
from workbench.runs import track

if TYPE_CHECKING:
    from workbench.directions.asset import Watchable
    from workbench.generation import Stream, Token
    from workbench.interventions import Recipe
    from workbench.models import Subject
    from workbench.prompts import Prompt

MOST_CHARACTERS = 20_000
MOST_COLUMNS = 4
Reader = Callable[[str], "Recipe"]


@dataclass(frozen=True)
class Column:
    """Who answers: a name, a written recipe, and the turns (user, assistant) of the conversation before."""

    name: str
    recipe: str = ""
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Asked:
    """A message, and how it is to be answered."""

    text: str
    columns: tuple[Column, ...]
    system: str | None = None
    prefill: str = ""
    max_new_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise PromptError("The message is empty; write something to the model.")
        if len(self.text) > MOST_CHARACTERS:
            raise PromptError(
                f"The message has {len(self.text):,} characters, and at most {MOST_CHARACTERS:,} are sent; shorten it."
            )
        if not 1 <= len(self.columns) <= MOST_COLUMNS:
            raise UsageError(f"A message is answered in 1 to {MOST_COLUMNS} columns, not {len(self.columns)}.")

    def prompts(self) -> "list[Prompt]":
        """What each column reads."""
        from workbench.prompts import Prompt
        from workbench.prompts.prompt import Turn

        def turns(history: Sequence[tuple[str, str]]) -> tuple[Turn, ...]:
            pairs = [(("user", said), ("assistant", answered)) for said, answered in history]
            return tuple(Turn(role=role, content=text) for pair in pairs for role, text in pair)  # type: ignore[arg-type]

        return [
            Prompt(text=self.text, system=self.system, prefill=self.prefill, history=turns(column.history))
            for column in self.columns
        ]


@dataclass(frozen=True)
class Change:
    """From the token `index` of a reply on, `recipe` (in its written form) held."""

    index: int
    recipe: str


@dataclass(eq=False)
class Talk:
    """What was asked, and the replies as far as they are there, one list of tokens a column."""

    asked: Asked
    tokens: "list[list[Token]]" = field(init=False)
    changes: list[list[Change]] = field(init=False)
    finished: list[bool] = field(init=False)
    refused: str = ""  # why the last change was not made
    _wanted: list[tuple[int, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        columns = self.asked.columns
        self.tokens = [[] for _ in columns]
        self.changes = [[Change(0, column.recipe)] for column in columns]
        self.finished = [False for _ in columns]

    def text(self, column: int) -> str:
        """A reply as it stands, with what it was begun with."""
        return self.asked.prefill + "".join(token.text for token in list(self.tokens[column]))

    def recipe(self, column: int) -> str:
        """The recipe that a column is under now, or was at last."""
        return self.changes[column][-1].recipe

    def change(self, column: int, recipe: str) -> None:
        """Ask for another recipe, from the next token on; from any thread."""
        with self._lock:
            self._wanted.append((column, recipe))

    def work(
        self, read: Reader, watch: "Callable[[Subject], Mapping[str, Watchable]]"
    ) -> "Callable[[Subject, Job], Talk]":
        """The job: `read` makes recipes of their written form, `watch` is what is read at each token."""

        def talk(subject: "Subject", job: Job) -> "Talk":
            from workbench.generation import stream
            from workbench.prompts import Prompts

            made = stream(
                subject, Prompts(tuple(self.asked.prompts()), "message"), [read(c.recipe) for c in self.asked.columns],
                max_new_tokens=self.asked.max_new_tokens, temperature=self.asked.temperature, seed=self.asked.seed,
                watch=watch(subject), divergence=any(column.recipe for column in self.asked.columns),
            )  # fmt: skip
            with made as tokens:
                self._listen(tokens, read, job)
            return self

        return talk

    def _listen(self, tokens: "Stream", read: Reader, job: Job) -> None:
        for token in track(tokens, "Talking", self.asked.max_new_tokens * len(self.tokens)):
            self.tokens[token.row].append(token)
            self.finished[token.row] = token.ends
            self._change(tokens, read)
            job.check()

    def _change(self, tokens: "Stream", read: Reader) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, []
        for column, text in wanted:
            try:
                tokens.change(read(text), column)
            except UsageError as error:
                self.refused = str(error)
            else:
                self.refused = ""
                # What was computed and waits to be read was said under the recipe before.
                self.changes[column].append(Change(len(tokens.session.said[column]), text))
