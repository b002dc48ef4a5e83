"""How likely a model finds given continuations of a text, as multiple choice asks.

    log p(c | x) = sum over t of log p(c_t | x, c_<t)        (nats, token by token, in float64)

What all questions begin with - the examples of a few-shot prompt - is read once, then the rest of each question, then
all its continuations as rows of one batch, from the cache. A recipe that must see whole rows gets them. To a recipe,
the question is the prompt and the continuation is the reply.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import PromptError
from workbench.interventions import Recipe, steered
from workbench.models import Batch, Layout, Subject
from workbench.runs import track

Question = tuple[Sequence[int], Sequence[Sequence[int]]]  # what is asked, and its continuations

_AT_ONCE = 8  # rows; their logits over a large vocabulary are gigabytes otherwise


@dataclass(frozen=True)
class Reading:
    """A continuation as the model reads it: the log-probability of each token, and whether each was its likeliest."""

    logprobs: list[float]
    greedy: bool


def continuation_logprobs(
    subject: Subject, recipe: Recipe, questions: Sequence[Question], batch_size: int = 32
) -> list[list[list[float]]]:
    """For each question, for each of its continuations, the log-probability of each token (nats)."""
    found = read_continuations(subject, recipe, questions, batch_size)
    return [[reading.logprobs for reading in readings] for readings in found]


def read_continuations(
    subject: Subject, recipe: Recipe, questions: Sequence[Question], batch_size: int = 32
) -> list[list[Reading]]:
    """For each question, its continuations as the model reads them under `recipe`.

    Raises PromptError where a question or a continuation has no tokens, or both do not fit the context.
    """
    _check(subject, questions)
    if not any(continuations for _, continuations in questions):
        return [[] for _ in questions]
    size = min(batch_size, _AT_ONCE)
    longest = max(len(prefix) + max(map(len, each), default=0) for prefix, each in questions)
    with steered(subject, recipe):
        if subject.may_share(longest):
            return list(track(_from_caches(subject, questions, size), "Reading answers", len(questions)))
        return _from_whole_rows(subject, questions, size)


def as_question(subject: Subject, text: str, continuations: Sequence[str]) -> Question:
    """The tokens of a text, and those that each continuation adds to it: split after the text, as lm-eval does it."""
    prefix = subject.tokenizer.encode(text)
    return prefix, [subject.tokenizer.encode(text + each)[len(prefix) :] for each in continuations]


def token_logprobs(logits: Float[Tensor, "pos vocab"], tokens: Sequence[int]) -> list[float]:
    """The log-probability (nats) of each token by the logits in its place."""
    wide, wanted = logits.double(), torch.tensor(tokens, device=logits.device)
    chosen = wide.gather(-1, wanted[:, None])[:, 0] - wide.logsumexp(dim=-1)  # no softmax over all that is not asked
    return [float(value) for value in chosen.tolist()]


def _check(subject: Subject, questions: Sequence[Question]) -> None:
    """Before anything is computed: is there something to read, and does it fit?"""
    for number, (prefix, continuations) in enumerate(questions, start=1):
        if not all(continuations):
            raise PromptError(f"A continuation of question {number} has no tokens; give each some text.")
        subject.batches([prefix], 1, reserve=max(map(len, continuations), default=1) - 1)


def _reading(logits: Float[Tensor, "pos vocab"], tokens: Sequence[int]) -> Reading:
    return Reading(token_logprobs(logits, tokens), logits.argmax(dim=-1).tolist() == list(tokens))


def _from_whole_rows(subject: Subject, questions: Sequence[Question], size: int) -> list[list[Reading]]:
    """Every row from its first token to its last but one, which leads to the last."""
    pairs = [(prefix, tokens) for prefix, continuations in questions for tokens in continuations]
    found: dict[int, Reading] = {}
    batches = subject.batches([[*prefix, *tokens[:-1]] for prefix, tokens in pairs], size)
    for group, batch in track(batches, "Reading answers"):
        lengths = [len(pairs[index][1]) for index in group]
        asked = torch.tensor([len(pairs[index][0]) for index in group], device=subject.device)
        logits = subject.logits(Batch(batch.ids, batch.attention, asked), last=max(lengths))
        for index, row, n in zip(group, logits, lengths, strict=True):
            found[index] = _reading(row[len(row) - n :], pairs[index][1])
    readings = iter(found[index] for index in range(len(pairs)))
    return [[next(readings) for _ in continuations] for _, continuations in questions]


def _from_caches(subject: Subject, questions: Sequence[Question], size: int) -> Iterator[list[Reading]]:
    shared = _shared([prefix for prefix, _ in questions])
    beginning = None
    if shared:
        prompt = min(len(prefix) for prefix, _ in questions)
        _, beginning = _onward(subject, 0, None, [questions[0][0][:shared]], prompt, last=1)
    for prefix, continuations in questions:
        first, cache = _onward(subject, shared, beginning, [prefix[shared:]], len(prefix), last=1)
        readings: list[Reading] = []
        for start in range(0, len(continuations), size):
            chunk = continuations[start : start + size]
            later = first[:, :0].expand(len(chunk), -1, -1)
            if max(map(len, chunk)) > 1:  # else the question's own pass has said it all
                later, _ = _onward(subject, len(prefix), cache, [tokens[:-1] for tokens in chunk], len(prefix))
            rows = zip(later, chunk, strict=True)
            readings += [_reading(torch.cat([first[0], row[: len(t) - 1]]), t) for row, t in rows]
        yield readings


def _shared(prefixes: Sequence[Sequence[int]]) -> int:
    """How many tokens all of several questions begin with, at least one less than the shortest has."""
    if len(prefixes) < 2:
        return 0
    least, most = min(map(list, prefixes)), max(map(list, prefixes))
    agree = (i for i, (one, other) in enumerate(zip(least, most, strict=False)) if one != other)
    return min(next(agree, len(least)), min(map(len, prefixes)) - 1)


def _onward(
    subject: Subject, done: int, cache: Any, rows: Sequence[Sequence[int]], prompt: int, last: int | None = None
) -> tuple[Float[Tensor, "row pos vocab"], Any]:
    """Logits of rows that go on after the `done` tokens in `cache` (which stays as it is), padded on the right.

    `prompt` is the length of the prompt of all of them.
    """
    width, device = max(map(len, rows)), subject.device
    ids = torch.tensor([[*row, *[subject.pad_token] * (width - len(row))] for row in rows], device=device)
    columns = torch.arange(width, device=device)
    real = columns < torch.tensor([len(row) for row in rows], device=device)[:, None]
    position = torch.where(real, done + columns, -1)
    layout = Layout(position, real, torch.full((len(rows),), prompt, device=device), ids)
    attention = torch.cat([torch.ones(len(rows), done, dtype=torch.bool, device=device), real], dim=1)
    own = deepcopy(cache)
    if own is not None:
        own.batch_repeat_interleave(len(rows))
    logits, own = subject.read_on(ids, attention, layout, own, last)
    return logits, own
