"""Which tokens an edit acts on.

    all        every token                          generated   the reply, not the prompt
    prompt     the prompt, not the reply            last        the last token of the prompt
    first 8    the first 8 tokens of the reply
    3:10       the tokens 3 to 9 of each row, counted from its own first token
    -5:2       the same, counted from the end of the prompt: its last five tokens and the reply's first two

and any of these followed by `no special`: without the tokens that stand for no text.
"""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.errors import RecipeError
from workbench.models import Layout

SCOPES = ("all", "prompt", "last", "generated")
PLAIN = " no special"
# The digits are bounded, so that no number overflows a tensor.
_WINDOW = re.compile(r"(-?\d{1,9}):(-?\d{1,9})")
_FIRST = re.compile(r"first (\d{1,9})")


@dataclass(frozen=True)
class Tokens:
    """A token scope, read from its written form. Raises RecipeError where it cannot be read."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise RecipeError(f"A token scope is text, such as all or generated, not {self.text!r}.")
        base = self._base
        window = _WINDOW.fullmatch(base)
        if window and (int(window[1]) >= int(window[2]) or (int(window[2]) < 0 <= int(window[1]))):
            raise RecipeError(f"The window {base} holds no token; write FROM:TO with TO after FROM.")
        if base not in SCOPES and _FIRST.fullmatch(base) is None and window is None:
            raise RecipeError(
                f"There is no token scope {self.text!r}; use {', '.join(SCOPES)}, first N or FROM:TO, and `no special` "
                "after it to leave out special tokens."
            )

    def __str__(self) -> str:
        return self.text

    @property
    def everything(self) -> bool:
        """Whether every token is meant, so that no mask is needed."""
        return self.text == "all"

    @property
    def from_the_end(self) -> bool:
        """Whether it counts from the end of each row's prompt, into the prompt."""
        return self._base.startswith("-")

    @property
    def in_prompt(self) -> bool:
        """Whether a token of the prompt may be meant."""
        return self._base != "generated" and _FIRST.fullmatch(self._base) is None

    def mask(self, layout: Layout, special: Tensor) -> Bool[Tensor, "batch pos"]:
        """Which tokens of the running pass are meant; `special` are the ids of special tokens."""
        mask = self._mask(layout)
        if self.text.endswith(PLAIN):
            mask = mask & ~torch.isin(layout.ids, special.to(layout.ids.device))
        return mask

    @property
    def _base(self) -> str:
        return self.text.removesuffix(PLAIN)

    def _mask(self, layout: Layout) -> Bool[Tensor, "batch pos"]:
        base = self._base
        if base == "all":
            return layout.real
        if base == "prompt":
            return layout.in_prompt
        if base == "generated":
            return layout.generated
        if base == "last":
            return layout.real & (layout.in_reply == -1)
        if first := _FIRST.fullmatch(base):
            return layout.generated & (layout.in_reply < int(first[1]))
        start, stop = (int(number) for number in base.split(":"))
        counted = layout.in_reply if start < 0 else layout.position
        return layout.real & (counted >= start) & (counted < stop)
