"""What the laws run over: every registered edit, at its own strengths and in every token scope."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.conftest import random_direction
from workbench.interventions import Edit, Recipe
from workbench.interventions.edit import edits
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts

EDITS = tuple(edits)
SCOPES = ("all", "prompt", "last", "generated", "2:5")
TEXTS = ("Tell me a story.", "Why?", "What is the tallest mountain on the moon, and who named it?")
PROMPTS = Prompts.of(TEXTS)


def an_edit(name: str, subject: Subject, strength: float = 1.0, seed: int = 0) -> Edit:
    """An instance of a registered edit along a random direction."""
    return edits[name](random_direction(subject, seed), strength)


def a_recipe(name: str, subject: Subject, tokens: str = "all", strength: float = 1.0, seed: int = 0) -> Recipe:
    """The edit on everything that writes to the stream."""
    return an_edit(name, subject, strength, seed).at("all", tokens)


def logits_of(subject: Subject, prompts: Prompts = PROMPTS) -> Tensor:
    """Logits at every position of a padded batch."""
    return subject.logits(subject.batch(token_rows(subject, prompts)))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit: also the signs of zeros."""
    return one.dtype == other.dtype and torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    width = {2: torch.int16, 4: torch.int32}[tensor.element_size()]
    return tensor.contiguous().view(width)


def tokens_of(replies: Sequence[object]) -> list[tuple[int, ...]]:
    return [reply.tokens for reply in replies]  # type: ignore[attr-defined]
