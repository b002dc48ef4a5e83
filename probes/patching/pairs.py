"""Pairs of a harmful and a harmless prompt whose tokens stand beside each other.

Prompts are aligned from their end, where the template's tokens are the same in all: position -1 of one is position -1
of the other. Rows of other lengths are padded on the left. With `same_length` prompts of as many tokens are paired, so
that every token has one beside it; whole runs can then be exchanged, and gradients be read position by position.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import PromptError, UsageError
from workbench.models import Subject, post_instruction_length, token_rows
from workbench.prompts import Prompts, for_tuning

_BEFORE = 2  # tokens of the instruction that are looked at beside the template's
HARMFUL, HARMLESS = "harmful", "harmless"
SIDES = (HARMFUL, HARMLESS)
Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Pairs:
    """Token rows of both sides, pair by pair, and the texts of the `kept` last tokens.

    A label ends in … where the prompts differ there.
    """

    harmful: Rows
    harmless: Rows
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.harmful)

    def __repr__(self) -> str:
        return f"Pairs({len(self)}, {'same lengths' if self.same_length else 'aligned from the end'})"

    @property
    def kept(self) -> int:
        """How many tokens, counted from the end, are looked at one by one."""
        return len(self.labels)

    @property
    def same_length(self) -> bool:
        return all(len(one) == len(other) for one, other in zip(self.harmful, self.harmless, strict=True))

    def side(self, name: str) -> Rows:
        """The rows of `harmful` or `harmless`."""
        if name not in SIDES:
            raise UsageError(f"A run is of a harmful or a harmless prompt, not of {name!r}.")
        return self.harmful if name == HARMFUL else self.harmless

    def require_same_length(self, what: str) -> None:
        """Raise PromptError where `what` needs a token beside every token and there is none."""
        for number, (one, other) in enumerate(zip(self.harmful, self.harmless, strict=True), start=1):
            if len(one) != len(other):
                raise PromptError(
                    f"{what} goes position by position, and the prompts of pair {number} have {len(one)} and "
                    f"{len(other)} tokens; pair prompts of the same length."
                )


def pair_prompts(
    subject: Subject,
    harmful: Prompts,
    harmless: Prompts,
    *,
    n: int = 8,
    same_length: bool = False,
    kept: int | None = None,
) -> Pairs:
    """Up to `n` pairs, in the sets' order.

    `kept` tokens from the end are looked at one by one; unless given, the template's after the instruction and two
    before them. Raises PromptError where there are fewer than two pairs, or a set is a locked part.
    """
    what = "Patching"
    sides = [for_tuning(prompts, what).require(2, what) for prompts in (harmful, harmless)]
    rows = [[tuple(row) for row in token_rows(subject, prompts)] for prompts in sides]
    found = _of_one_length(*rows)[:n] if same_length else list(zip(*rows, strict=False))[:n]
    if len(found) < 2:
        raise PromptError(
            f"{len(found)} of {len(rows[0])} harmful prompts can be paired with a harmless one"
            f"{' of as many tokens' if same_length else ''}, and an interval needs 2; give more prompts"
            f"{', or align them from the end' if same_length else ''}."
        )
    one, other = (tuple(side) for side in zip(*found, strict=True))
    return Pairs(one, other, _labels(subject, (*one, *other), kept))


def _of_one_length(
    harmful: Sequence[tuple[int, ...]], harmless: Sequence[tuple[int, ...]]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each harmful row with the first harmless one of its length that is still free."""
    free = list(harmless)
    found = []
    for row in harmful:
        match = next((other for other in free if len(other) == len(row)), None)
        if match is not None:
            free.remove(match)
            found.append((row, match))
    return found


def _labels(subject: Subject, rows: Sequence[tuple[int, ...]], kept: int | None) -> tuple[str, ...]:
    shortest = min(map(len, rows)) - 1  # what stands before is read once, and must not be empty
    asked = min(post_instruction_length(subject) + _BEFORE, shortest) if kept is None else kept
    if not 1 <= asked <= shortest:
        raise UsageError(f"{asked} tokens from the end are asked for; the prompts allow from 1 to {shortest}.")
    labels = []
    for place in range(-asked, 0):
        ids = {row[place] for row in rows}
        labels.append(f"{place} {subject.tokenizer.decode([*ids])}" if len(ids) == 1 else f"{place} …")
    return tuple(labels)
