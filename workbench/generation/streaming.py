"""Streaming: every token as it is chosen, with what the model was sure of, and recipes that change between two tokens.

    for token in stream(subject, "Hello!", recipe, watch={"refusal": direction}, divergence=True):
        print(token.text, token.entropy, token.watched["refusal"], token.kl)

The Subject's lock is held for one pass at a time, so that others talk in between, and nothing rests on the model from
one token to the next. With `divergence`, the unedited model reads the same tokens in the same batch, and `kl` is
KL(unedited || edited) over the whole vocabulary at the position that the token was chosen from, in nats.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from types import TracebackType

import torch

from workbench.directions.asset import Watchable
from workbench.errors import UsageError, WorkbenchError
from workbench.generation.decoding import as_prompts, one_each, reply_of
from workbench.generation.divergence import in_float64, kl_divergence
from workbench.generation.replies import Replies
from workbench.generation.sampling import Sampling
from workbench.generation.session import Session, Step
from workbench.generation.token import Span, Token
from workbench.interventions import Recipe, Steering
from workbench.models import Batch, Subject, token_rows
from workbench.prompts import Prompt, Prompts


def stream(
    subject: Subject,
    prompts: Prompts | Sequence[str | Prompt] | str,
    recipes: Recipe | Sequence[Recipe] | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    watch: Mapping[str, Watchable] | None = None,
    divergence: bool = False,
    sureness: bool = True,
) -> "Stream":
    """Tokens of the replies to `prompts`, under one recipe or one for each; all prompts are one batch.

    Without `sureness` no log-probability and entropy is computed, which costs a pass over the vocabulary.

    Raises what `generate` raises, and DirectionError where `watch` holds something of another model.
    """
    if max_new_tokens < 1:
        raise UsageError("max_new_tokens must be at least 1.")
    asked = as_prompts(prompts)
    listed = one_each(recipes, len(asked)) or [recipes if isinstance(recipes, Recipe) else Recipe()] * len(asked)
    groups = subject.batches(token_rows(subject, asked), len(asked), reserve=max_new_tokens)
    (order, batch), *_ = groups
    back = [order.index(row) for row in range(len(asked))]
    rows = Batch(batch.ids[back], batch.attention[back], batch.prompt_lengths[back])
    made = _session(subject, rows, listed, Sampling(temperature, top_p, seed), asked, watch or {}, divergence)
    return Stream(made, asked, max_new_tokens, sureness)


def _session(
    subject: Subject, batch: Batch, recipes: Sequence[Recipe], sampling: Sampling, asked: Prompts,
    watch: Mapping[str, Watchable], divergence: bool,
) -> Session:  # fmt: skip
    n, digests = len(batch), [prompt.digest for prompt in asked]
    if not divergence:
        return Session(subject, batch, Steering.of(subject, recipes), sampling, digests, watch=watch)
    twice = Batch(*(torch.cat([part, part]) for part in (batch.ids, batch.attention, batch.prompt_lengths)))
    steering = Steering.of(subject, [*recipes, *(Recipe() for _ in range(n))])
    follows = {n + row: row for row in range(n)}
    return Session(subject, twice, steering, sampling, digests * 2, follows=follows, watch=watch)


@dataclass
class Stream(Iterator[Token]):
    """An iterator over tokens, whose recipes can be changed, and which can be cancelled, from any thread."""

    session: Session
    prompts: Prompts
    max_new_tokens: int
    sureness: bool = True
    _waiting: list[Token] = field(default_factory=list)
    _shown: list[str] = field(init=False)
    _spans: list[list[Span]] = field(init=False)
    _lengths: list[int] = field(init=False)  # of the prompts
    _steps: int = 0
    _changed: bool = False  # since the last pass
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _asked: list[tuple[Recipe, int | None]] = field(default_factory=list)
    _asking: threading.Lock = field(default_factory=threading.Lock)  # held for no longer than a list is looked at

    def __post_init__(self) -> None:
        self._shown = ["" for _ in self.prompts]
        self._spans = [[] for _ in self.prompts]
        self._lengths = self.session.batch.prompt_lengths.tolist()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self._take_back()

    def __next__(self) -> Token:
        while not self._waiting and not self.cancelled:
            if self._steps >= self.max_new_tokens or not self.session.talking:
                self._end()
                raise StopIteration
            self._advance()
        if self.cancelled:
            self._take_back()
            raise StopIteration
        return self._waiting.pop(0)

    def change(self, recipe: Recipe, row: int | None = None) -> None:
        """Use `recipe` from the next pass on, for one row or for all. What was said, and its cache, stays as it is.

        Raises UsageError where there is no such row, RecipeError where it does not fit; the old one then goes on.
        """
        if row is not None:
            self._require(row)
        recipe.check_fits(self.session.subject)
        with self._asking:
            self._asked.append((recipe, row))

    def stop(self, row: int) -> None:
        """End one row's reply before its last token, which is taken back; the others talk on."""
        self._require(row)
        if row in self.session.stopped or self.session.ended(row):
            return
        self.session.stopped.add(row)
        self._waiting = [token for token in self._waiting if token.row != row]
        if self.session.said[row]:
            self._unsay([row])

    def cancel(self) -> None:
        """End the stream: a pass that runs is its last, and its tokens are not said."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def spans(self, row: int = 0) -> tuple[Span, ...]:
        """Which positions of the row's cache were computed under which recipe."""
        self._require(row)
        return tuple(self._spans[row])

    def replies(self) -> Replies:
        """The replies as they stand."""
        made = (reply_of(self.session, row, self.prompts, row) for row in range(len(self.prompts)))
        return Replies(tuple(made))

    def _advance(self) -> None:
        self._change()
        recipes = [self.session.steering.recipe_of(row) for row in range(len(self.prompts))]
        step = self.session.step()
        self._changed = False
        if self.cancelled:
            self._unsay(step.rows)
            return
        self._steps += 1
        for row in step.rows:
            self._record(row, recipes[row])
        self._waiting.extend(self._tokens(step))

    def _change(self) -> None:
        """Apply what was asked for since the last pass, from whichever thread; a refusal costs no other its turn."""
        with self._asking:
            asked, self._asked = self._asked, []
        refused: list[WorkbenchError] = []
        for recipe, row in asked:
            steering = self.session.steering
            now = [steering.recipe_of(each) for each in range(len(self.session.digests))]
            for each in range(len(self.prompts)) if row is None else [row]:
                now[each] = recipe
            try:
                steering.change(now)
                self._changed = True
            except WorkbenchError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _require(self, row: int) -> None:
        if not 0 <= row < len(self.prompts):
            raise UsageError(f"There is no row {row}; there are 0-{len(self.prompts) - 1}.")

    def _take_back(self) -> None:
        self._unsay(token.row for token in self._waiting)
        self._waiting.clear()

    def _unsay(self, rows: Iterable[int]) -> None:
        """Take back what was computed and not said."""
        for row in rows:
            self.session.said[row].pop()

    def _record(self, row: int, recipe: Recipe) -> None:
        """The pass computed the prompt, or the last token that was said before it."""
        spans, said = self._spans[row], len(self.session.said[row])
        start = spans[-1].stop if spans else 0
        stop = self._lengths[row] + said - 1
        if spans and spans[-1].recipe == recipe:
            spans[-1] = replace(spans[-1], stop=stop)
        else:
            spans.append(Span(start, stop, recipe))

    def _tokens(self, step: Step) -> Iterator[Token]:
        sure = _sureness(step) if self.sureness else [(nan, nan)] * len(step.rows)
        divergences = None if step.followed is None else kl_divergence(step.followed, step.logits).tolist()
        for place, (row, token) in enumerate(zip(step.rows, step.tokens, strict=True)):
            ends = self.session.ended(row)
            yield Token(
                row=row,
                index=len(self.session.said[row]) - 1,
                id=token,
                text=self._piece(row, whole=ends or self._steps == self.max_new_tokens),
                logprob=sure[place][0],
                entropy=sure[place][1],
                watched=step.watched[place],
                kl=None if divergences is None else divergences[place],
                ends=ends,
            )

    def _piece(self, row: int, whole: bool) -> str:
        """What the row's last token adds to its text; a character that is not whole waits for the next one."""
        text = reply_of(self.session, row, self.prompts, row).text
        shown = self._shown[row]
        if not text.startswith(shown) or (text.endswith("�") and not whole):
            return ""
        self._shown[row] = text
        return text[len(shown) :]

    def _end(self) -> None:
        if self._steps and not self._changed:
            self.session.steering.finish()


def _sureness(step: Step) -> list[tuple[float, float]]:
    """The log-probability of each row's token, and the entropy that it was chosen from."""
    logprobs = in_float64(step.logits).log_softmax(dim=-1)
    entropies = -(logprobs.exp() * logprobs.clamp_min(-1e300)).sum(dim=-1)
    chosen = logprobs[torch.arange(len(step.tokens)), list(step.tokens)]
    return list(zip(chosen.tolist(), entropies.tolist(), strict=True))
