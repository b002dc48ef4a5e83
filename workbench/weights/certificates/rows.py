"""What a certificate compares logits on: rows of tokens, each position once.

Prompts of one template begin alike, and so do their logits; what a row shares with an earlier one is read again, for
the rest needs it, and not compared again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.models import Subject, token_rows
from workbench.models.chat import encode
from workbench.prompts import Prompts, builtin_pairs

_OF_EACH = 8  # prompts of each side, where none are given
LONGEST = 64  # tokens of a row; what is longer is cut


@dataclass(frozen=True)
class Row:
    """Tokens, of which those from `new` on begin like no earlier row."""

    tokens: tuple[int, ...]
    new: int


def certificate_prompts() -> Prompts:
    """Harmful and harmless requests of the validation part."""
    pairs = builtin_pairs("val")
    both = (*pairs.positive.sample(_OF_EACH), *pairs.negative.sample(_OF_EACH))
    return Prompts(both, "harmful:val and harmless:val")


def certificate_rows(subject: Subject, prompts: Prompts) -> list[Row]:
    """The prompts as the model reads them, cut after `LONGEST` tokens; bare text where it knows no conversation."""
    known = prompts.require(1, "A certificate")
    if getattr(subject.tokenizer, "chat_template", None):
        rows = token_rows(subject, known)
    else:
        rows = [encode(subject, prompt.text) for prompt in known]
    cut = [tuple(row[: min(LONGEST, subject.context_length)]) for row in rows]
    news = [max((_shared(row, other) for other in cut[:number]), default=0) for number, row in enumerate(cut)]
    return [Row(row, new) for row, new in zip(cut, news, strict=True) if new < len(row)]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with."""
    for place, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return place
    return min(len(one), len(other))
