"""Batched decoding.

1. Prompts are sorted by length and batched; replies come back in the order of the prompts.
2. The prompt is read once; then one token a pass, from the KV cache (or, with `cache=False`, over the whole
   text again: the slow reference that the cache is tested against).
3. A row that has ended is decoded on, unheard, until a tenth of its batch has ended; then these rows leave the
   batch. With a recipe for each row, they stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.errors import UsageError
from workbench.generation.replies import Replies, Reply
from workbench.generation.sampling import Sampling
from workbench.interventions import Recipe, steered
from workbench.models import Batch, Layout, Subject, token_rows
from workbench.prompts import Prompts
from workbench.runs import track

SHRINK_AT = 0.9  # of the rows still talking, the others leave


def generate(
    subject: Subject,
    prompts: Prompts | Sequence[str] | str,
    recipe: Recipe | Sequence[Recipe] | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 32,
    cache: bool = True,
) -> Replies:
    """Replies of `subject` under one recipe, or under one for each prompt.

    Raises PromptError where a prompt does not fit the context, RecipeError where a recipe does not fit.
    """
    asked = _as_prompts(prompts)
    recipes = _one_each(recipe, len(asked))
    sampling = Sampling(temperature, top_p, seed)
    if max_new_tokens < 1 or batch_size < 1:
        raise UsageError("max_new_tokens and batch_size must be at least 1.")
    replies: dict[int, Reply] = {}
    for group, batch in subject.batches(token_rows(subject, asked), batch_size, reserve=max_new_tokens):
        mine = recipe if isinstance(recipe, Recipe) or recipe is None else [recipes[i] for i in group]
        digests = [asked[index].digest for index in group]
        with steered(subject, mine):
            said = _decode(
                subject,
                batch,
                sampling,
                digests,
                max_new_tokens=max_new_tokens,
                cache=cache,
                may_shrink=not recipes,
                title=f"Generating {len(group)} replies",
            )
        for index, (tokens, finished) in zip(group, said, strict=True):
            text = subject.tokenizer.decode(tokens, skip_special_tokens=True)
            replies[index] = Reply(asked[index], text, tuple(tokens), finished)
    return Replies(tuple(replies[index] for index in range(len(asked))))


@dataclass
class _Decoding:
    """The growing text of the rows of one batch that still talk."""

    batch: Batch
    attention: Tensor
    produced: list[Tensor] = field(default_factory=list)
    cache: Any = None

    def append(self, tokens: Tensor) -> None:
        self.produced.append(tokens)
        self.attention = torch.cat([self.attention, torch.ones_like(self.attention[:, :1])], dim=1)

    def next_logits(self, subject: Subject, cache: bool) -> Tensor:
        """Logits [batch vocab] after the text so far."""
        whole = Batch(self.attention.long(), self.attention, self.batch.prompt_lengths).layout()
        if not cache:
            ids = torch.cat([self.batch.ids, *(t[:, None] for t in self.produced)], dim=1)
            return subject.logits(Batch(ids, self.attention, self.batch.prompt_lengths), last=1)[:, -1]
        if not self.produced:
            ids, layout = self.batch.ids, whole
        else:
            ids = self.produced[-1][:, None]
            layout = Layout(whole.position[:, -1:], whole.real[:, -1:], whole.prompt_lengths)
        logits, self.cache = subject.step(ids, self.attention, layout, self.cache)
        return logits

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        old = self.batch
        self.batch = Batch(old.ids[rows], old.attention[rows], old.prompt_lengths[rows])
        self.attention = self.attention[rows]
        self.produced = [tokens[rows] for tokens in self.produced]
        if self.cache is not None:
            self.cache.batch_select_indices(rows)


def _decode(
    subject: Subject,
    batch: Batch,
    sampling: Sampling,
    digests: Sequence[str],
    *,
    max_new_tokens: int,
    cache: bool,
    may_shrink: bool,
    title: str,
) -> list[tuple[list[int], bool]]:
    """Token ids of each row's reply, without the token that ended it, and whether it ended."""
    decoding = _Decoding(batch, batch.attention)
    generators = sampling.generators(digests)
    said: list[list[int]] = [[] for _ in range(len(batch))]
    rows = list(range(len(batch)))  # which row of the batch each row that still talks is
    for _ in track(range(max_new_tokens), title):
        tokens = sampling.choose(decoding.next_logits(subject, cache), generators)
        decoding.append(tokens)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            said[row].append(token)
        talking = [i for i, row in enumerate(rows) if not subject.end_tokens.intersection(said[row])]
        if not talking:
            break
        if may_shrink and len(talking) <= SHRINK_AT * len(rows):
            decoding.keep(torch.tensor(talking, device=batch.ids.device))
            rows, generators = [rows[i] for i in talking], [generators[i] for i in talking]
    return [_until_end(tokens, subject.end_tokens) for tokens in said]


def _until_end(tokens: list[int], ends: frozenset[int]) -> tuple[list[int], bool]:
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[:index], True
    return tokens, False


def _as_prompts(prompts: Prompts | Sequence[str] | str) -> Prompts:
    if isinstance(prompts, Prompts):
        return prompts
    listed = [prompts] if isinstance(prompts, str) else list(prompts)
    return Prompts.of(listed)


def _one_each(recipe: Recipe | Sequence[Recipe] | None, n: int) -> list[Recipe]:
    if recipe is None or isinstance(recipe, Recipe):
        return []
    if len(recipe) != n:
        raise UsageError(f"{len(recipe)} recipes were given for {n} prompts; give one, or one for each prompt.")
    return list(recipe)
