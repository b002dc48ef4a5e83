"""How likely a model finds given continuations of a text, as multiple choice asks.

    log p(c | x) = sum over t of log p(c_t | x, c_<t)        (nats, token by token, in float64)

What all questions begin with - the examples of a few-shot prompt - is read once, then the rest of some questions, then
all their continuations as rows of one batch, from the cache. A recipe that must see whole rows gets them. To a recipe,
the question is the prompt and the continuation is the reply.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.errors import PromptError
from workbench.interventions import Recipe, steered
from workbench.models import Batch, Layout, Subject
from workbench.runs import track

Question = tuple[Sequence[int], Sequence[Sequence[int]]]  # what is asked, and its continuations

_AT_ONCE = 8  # whole rows, or questions; logits over a large vocabulary are gigabytes otherwise
_TOKENS_AT_ONCE = 256  # of continuations, whose logits are all needed


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
            return _from_caches(subject, questions, size)
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


def _from_caches(subject: Subject, questions: Sequence[Question], size: int) -> list[list[Reading]]:
    """The common beginning in one pass, questions of like length in one pass, and their continuations in another."""
    lengths = [len(prefix) for prefix, _ in questions]
    shared, beginning = _shared([prefix for prefix, _ in questions]), None
    if shared:
        _, beginning = _onward(subject, None, [0], [questions[0][0][:shared]], [min(lengths)], last=1)
    order = sorted(range(len(questions)), key=lambda index: (lengths[index], index))
    found: dict[int, list[Reading]] = {}
    for group in track([order[start : start + size] for start in range(0, len(order), size)], "Reading answers"):
        rests = [questions[index][0][shared:] for index in group]
        asked = [lengths[index] for index in group]
        first, past = _onward(subject, beginning, [0] * len(group), rests, asked, last=1)
        answers = _answers(subject, first[:, 0], past, asked, [questions[index][1] for index in group])
        found.update(zip(group, answers, strict=True))
    return [found[index] for index in range(len(questions))]


def _answers(
    subject: Subject,
    first: Float[Tensor, "question vocab"],
    past: "_Past",
    asked: Sequence[int],
    continuations: Sequence[Sequence[Sequence[int]]],
) -> list[list[Reading]]:
    """Continuations of several questions as rows of one batch, or of a few where they are long."""
    rows = [(question, tokens) for question, each in enumerate(continuations) for tokens in each]
    longest = max((len(tokens) for _, tokens in rows), default=1) - 1
    size = max(1, _TOKENS_AT_ONCE // max(1, longest))
    readings: list[Reading] = []
    for start in range(0, len(rows), size):
        of, said = zip(*rows[start : start + size], strict=True)
        later = first[:, None][list(of), :0]
        if max(map(len, said)) > 1:  # else the questions' own pass has said it all
            later, _ = _onward(subject, past, of, [tokens[:-1] for tokens in said], [asked[place] for place in of])
        for place, row, tokens in zip(of, later, said, strict=True):
            readings.append(_reading(torch.cat([first[place][None], row[len(row) - len(tokens) + 1 :]]), tokens))
    each_reading = iter(readings)
    return [[next(each_reading) for _ in each] for each in continuations]


def _shared(prefixes: Sequence[Sequence[int]]) -> int:
    """How many tokens all of several questions begin with, at least one less than the shortest has."""
    if len(prefixes) < 2:
        return 0
    least, most = min(map(list, prefixes)), max(map(list, prefixes))
    agree = (i for i, (one, other) in enumerate(zip(least, most, strict=False)) if one != other)
    return min(next(agree, len(least)), min(map(len, prefixes)) - 1)


@dataclass(frozen=True)
class _Past:
    """What has been read of some rows: which columns of the cache are theirs, and the cache."""

    attention: Bool[Tensor, "row pos"]
    cache: Any


def _onward(
    subject: Subject,
    past: _Past | None,
    of: Sequence[int],
    rows: Sequence[Sequence[int]],
    prompts: Sequence[int],
    last: int | None = None,
) -> tuple[Float[Tensor, "row pos vocab"], _Past]:
    """Logits of rows, each of which goes on from the row `of` the past (that stays as it is), padded on the left.

    `prompts` are the lengths of their prompts.
    """
    device, width = subject.device, max(map(len, rows))
    ids = torch.tensor([[*[subject.pad_token] * (width - len(row)), *row] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    real = torch.arange(width, device=device) >= (width - lengths)[:, None]
    before, cache = real[:, :0], None
    if past is not None:
        places = torch.tensor(of, device=device)
        before, cache = past.attention[places], deepcopy(past.cache)
        cache.batch_select_indices(places)
    position = torch.where(real, before.sum(dim=1, keepdim=True) + real.long().cumsum(dim=1) - 1, -1)
    layout = Layout(position, real, torch.tensor(prompts, device=device), ids)
    attention = torch.cat([before, real], dim=1)
    logits, cache = subject.read_on(ids, attention, layout, cache, last)
    return logits, _Past(attention, cache)
