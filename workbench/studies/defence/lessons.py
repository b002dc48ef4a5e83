"""What a defence is taught: refusals of harmful requests, and the model's own answers to all others.

The model's own answers keep it as it was: nothing is learned from them but to go on answering. Prompts that sound
harmful and are fine are among them, for a model that is taught to refuse learns to refuse too much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.generation import generate
from workbench.models import Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts
from workbench.studies.defence.method import Defence


@dataclass(frozen=True)
class Lesson:
    """A prompt and what shall be said to it, in tokens."""

    prompt: list[int]
    reply: list[int]


def lessons(
    subject: Subject, pairs: ContrastPairs, defence: Defence, reply_tokens: int, seed: int
) -> tuple[list[Lesson], list[Lesson]]:
    """Refusals and ordinary answers."""
    generator = np.random.default_rng(seed)
    refusals = [defence.refusal(prompt, generator) for prompt in pairs.positive]
    spoken = [_ended(subject, text, reply_tokens) for text in refusals]
    return _paired(subject, pairs.positive, spoken), _answers(subject, pairs.negative, reply_tokens)


def _answers(subject: Subject, prompts: Prompts, reply_tokens: int) -> list[Lesson]:
    said = generate(subject, prompts, max_new_tokens=reply_tokens)
    return _paired(subject, prompts, [list(reply.tokens) for reply in said])


def _paired(subject: Subject, prompts: Prompts, replies: Sequence[list[int]]) -> list[Lesson]:
    rows = token_rows(subject, prompts)
    return [Lesson(row, reply) for row, reply in zip(rows, replies, strict=True) if reply]


def _ended(subject: Subject, text: str, most: int) -> list[int]:
    """A reply in tokens with the token that ends a turn, or cut at `most`."""
    tokens = [int(token) for token in subject.tokenizer(text, add_special_tokens=False)["input_ids"]]
    return [*tokens, _end(subject)][:most]


def _end(subject: Subject) -> int:
    end = subject.tokenizer.eos_token_id
    return int(end) if end is not None else min(subject.end_tokens)
