"""A session: the rows of one batch that talk, one token a step.

1. The prompts are read: where several rows have the same prompt and their recipes do the same to it, once.
2. Then one token a pass, from the KV cache (or, with `cache=False`, over the whole text again: the slow reference
   that the cache is tested against).
3. A row that has ended is decoded on, unheard, until a tenth of its batch has ended; then these rows leave the batch.

A row may follow another: it is given the other's tokens in the place of its own. So the same text is read under two
recipes at once, which is how divergence is measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions.asset import Watchable
from workbench.errors import RecipeError, UsageError
from workbench.generation.sampling import Sampling
from workbench.interventions import Steering
from workbench.models import Batch, Layout, Site, Subject, needs_whole_rows

SHRINK_AT = 0.9  # of the rows still talking, the others leave


@dataclass(frozen=True)
class Step:
    """One step: for each of `rows`, which still talked, its token, and the logits [row vocab] it was chosen from.

    `followed` are the logits of the rows that follow these, in their order, where there are any. `watched` holds, for
    each of these rows, the coordinates of what is watched at the position that the token was chosen from.
    """

    rows: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: Float[Tensor, "row vocab"]
    followed: Float[Tensor, "row vocab"] | None
    watched: Sequence[Mapping[str, float]]


@dataclass
class Session:
    """Rows that talk. `digests` seed what each row draws; `follows` names, for some rows, the row they follow."""

    subject: Subject
    batch: Batch
    steering: Steering
    sampling: Sampling
    digests: Sequence[str]
    cached: bool = True
    follows: Mapping[int, int] = field(default_factory=dict)
    watch: Mapping[str, Watchable] = field(default_factory=dict)
    said: list[list[int]] = field(init=False)
    stopped: set[int] = field(default_factory=set)  # rows that were ended from outside
    _rows: list[int] = field(init=False)  # which row of the request each row of the pass is
    _attention: Tensor = field(init=False)
    _produced: list[Tensor] = field(default_factory=list)
    _cache: Any = None
    _broken: bool = False  # a pass that failed half-way has left the cache longer in some layers than in others

    def __post_init__(self) -> None:
        if needs_whole_rows():
            raise RecipeError(
                "Rows come and go while the model talks, so that a recipe which asks for whole rows, or is one of "
                "several, cannot be put around it; hand it to the function that generates."
            )
        for watched in self.watch.values():
            watched.check_fits(self.subject)
            self.subject.check_site(watched.site)
        self.said = [[] for _ in self.digests]
        self._rows = list(range(len(self.digests)))
        self._attention = self.batch.attention
        self._generators = self.sampling.generators(self.digests)

    @property
    def talking(self) -> list[int]:
        """The rows that lead and have neither ended nor been stopped."""
        return [row for row in range(len(self.said)) if row not in self.follows and not self._silent(row)]

    def ended(self, row: int) -> bool:
        """Whether the model ended the row's reply."""
        return bool(self.said[row]) and self.said[row][-1] in self.subject.end_tokens

    def _silent(self, row: int) -> bool:
        return row in self.stopped or self.ended(row)

    def step(self) -> Step:
        """Choose one more token for every row that talks."""
        if self._broken:
            raise UsageError("A pass of this reply was interrupted, so that its cache is not whole; begin again.")
        before, self._broken = self.talking, True
        logits, watched = self._read()
        place = {row: index for index, row in enumerate(self._rows)}
        chosen = self.sampling.choose(logits[[place[row] for row in before]], [self._generators[r] for r in before])
        token_of = dict(zip(before, chosen.tolist(), strict=True))
        # A row that has ended and is still there reads on, unheard.
        tokens = [token_of.get(self.follows.get(row, row), self.subject.pad_token) for row in self._rows]
        self._append(torch.tensor(tokens, device=logits.device))
        self._broken = False  # not before: what was read and not followed by a token would be read again
        for row in before:
            self.said[row].append(token_of[row])
        own, theirs = [place[row] for row in before], self._followers(before, place)
        step = Step(
            tuple(before), tuple(token_of[row] for row in before), logits[own], logits[theirs] if theirs else None,
            [dict(zip(self.watch, watched[place], strict=True)) for place in own],
        )  # fmt: skip
        self._shrink()
        return step

    def _followers(self, rows: Sequence[int], place: Mapping[int, int]) -> list[int]:
        followers = {leader: row for row, leader in self.follows.items()}
        return [place[followers[row]] for row in rows if row in followers]

    def _read(self) -> tuple[Tensor, list[list[float]]]:
        """Logits [pass vocab] after the text so far, and what was watched [pass watched]."""
        first, of = self._same() if self.cached and not self._produced else (None, None)
        self.steering.order = self._rows if first is None else [self._rows[index] for index in first]
        with self.steering.applied(), self._watching() as watched:
            logits = self._passed(first)
        self.steering.order = self._rows
        values = torch.stack([watched[name] for name in self.watch], dim=1) if self.watch else logits[:, :0]
        if of is None:
            return logits, values.tolist()
        self._cache.batch_select_indices(of)
        return logits[of], values[of].tolist()

    def _passed(self, first: list[int] | None) -> Tensor:
        attention, lengths = self._attention, self.batch.prompt_lengths
        if not self.cached or not self._produced:
            ids = torch.cat([self.batch.ids, *(tokens[:, None] for tokens in self._produced)], dim=1)
            whole = Batch(ids, attention, lengths)
            if not self.cached:
                return self.subject.logits(whole, last=1)[:, -1]
            if first is not None:
                whole = Batch(ids[first], attention[first], lengths[first])
            logits, self._cache = self.subject.step(whole.ids, whole.attention, whole.layout(), None)
            return logits
        ids = self._produced[-1][:, None]
        position = attention.sum(dim=1, keepdim=True) - 1
        layout = Layout(position, torch.ones_like(ids, dtype=torch.bool), lengths, ids)
        logits, self._cache = self.subject.step(ids, attention, layout, self._cache)
        return logits

    def _same(self) -> tuple[list[int] | None, Tensor | None]:
        """A row for each thing that is made of a prompt, and which of these every row has; None where all differ."""
        if not self.subject.shares:  # nor can the rows of its cache be chosen
            return None, None
        keys = [self._key(row) for row in self._rows]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        order = sorted(first.values())
        if len(order) == len(keys):
            return None, None
        of = [order.index(first[key]) for key in keys]
        return order, torch.tensor(of, device=self.batch.ids.device)

    def _key(self, row: int) -> tuple[object, ...]:
        on_prompt = self.steering.recipe_of(row).on_prompt()
        # What a gate decides on a prompt is remembered by row, so such a row reads its own.
        own = (
            row
            if any(placement.gate is not None and placement.gate.once for placement in on_prompt.placements)
            else None
        )
        return (*self.batch.ids[row][self.batch.attention[row]].tolist(), on_prompt.digest, own)

    def _append(self, tokens: Tensor) -> None:
        self._produced.append(tokens)
        self._attention = torch.cat([self._attention, torch.ones_like(self._attention[:, :1])], dim=1)

    def _shrink(self) -> None:
        """Let rows that talk no more leave, where there are enough of them."""
        ended = [self._silent(self.follows.get(row, row)) for row in self._rows]
        kept = [index for index, gone in enumerate(ended) if not gone]
        if not kept or len(kept) > SHRINK_AT * len(self._rows) or not self.subject.shares:
            return
        rows = torch.tensor(kept, device=self.batch.ids.device)
        old = self.batch
        self.batch = Batch(old.ids[rows], old.attention[rows], old.prompt_lengths[rows])
        self._attention = self._attention[rows]
        self._produced = [tokens[rows] for tokens in self._produced]
        if self._cache is not None:
            self._cache.batch_select_indices(rows)
        self._rows = [self._rows[index] for index in kept]

    @contextmanager
    def _watching(self) -> Iterator[dict[str, Tensor]]:
        """Read the watched coordinates at the last position, after any edit."""
        found: dict[str, Tensor] = {}

        def reader(kind: type[Any], names: Sequence[str]) -> Callable[..., None]:
            def read(acts: Tensor, hook: object) -> None:
                last = acts.flatten(2)[:, -1]  # some architectures keep the heads apart
                found.update(zip(names, kind.coordinates([self.watch[name] for name in names], last), strict=True))

            return read

        alike: dict[tuple[Site, type[Watchable]], list[str]] = {}
        for name, asset in self.watch.items():
            alike.setdefault((asset.site, type(asset)), []).append(name)
        with self.subject.hooked([(site, reader(kind, names)) for (site, kind), names in alike.items()]):
            yield found
