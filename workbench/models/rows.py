"""Whether rows of token ids can be read by a model; what is wrong is said of the prompt that a person gave."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import PromptError, UsageError

if TYPE_CHECKING:
    from workbench.models.subject import Subject


def check_rows(subject: "Subject", rows: Sequence[Sequence[int]], reserve: int = 0) -> None:
    """Raise PromptError where there is no row, or one is empty or, with `reserve` tokens more, too long.

    UsageError where so many more do not fit by themselves.
    """
    if not rows:
        raise PromptError("There are no prompts to run; give at least one.")
    if reserve >= subject.context_length:
        raise UsageError(
            f"A reply of {reserve} tokens does not fit {subject.name}, which reads at most {subject.context_length}; "
            "ask for fewer with --max-new-tokens."
        )
    for number, row in enumerate(rows, start=1):
        if not row:
            raise PromptError(f"Prompt {number} has no tokens; give it some text.")
        if len(row) + reserve > subject.context_length:
            more = f" and {reserve} more are asked for" if reserve else ""
            raise PromptError(
                f"Prompt {number} (ending in {_end_of(subject, row)!r}) has {len(row)} tokens{more}, but "
                f"{subject.name} reads at most {subject.context_length}; shorten it."
            )


def _end_of(subject: "Subject", row: Sequence[int]) -> str:
    """The last words of a row, by which a person finds the prompt again."""
    return str(subject.tokenizer.decode(row[-60:], skip_special_tokens=True)).strip()[-40:]
