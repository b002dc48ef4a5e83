"""The lock on test parts: what is reported on is never chosen on.

A test part says of itself that it is locked; the built-in test parts are known by their words too, so that the lock
holds for a copy in a file, in other capitals, or under a system prompt.
"""

import re
from functools import cache

from workbench.errors import PromptError
from workbench.prompts.builtin import NAMES, builtin_prompts
from workbench.prompts.prompt import Prompts


def for_tuning(prompts: Prompts, what: str) -> Prompts:
    """`prompts` as they are, for `what` to choose by ("a search", "a dose").

    Raises PromptError where they are, or hold, a test part.
    """
    known = sum(is_locked(prompt.text) for prompt in prompts)
    if not prompts.locked and not known:
        return prompts
    held = "is a test part" if prompts.locked else f"holds {known} prompts of a built-in test part"
    whole = prompts.name.removesuffix(":test")
    raise PromptError(
        f"{prompts.name} {held}, which is locked: {what} would tune on what is reported; give a train or validation "
        f"part, such as {whole}:val."
    )


def is_locked(text: str) -> bool:
    """Whether these are the words of a prompt of a built-in test part."""
    return _words(text) in _locked()


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


@cache
def _locked() -> frozenset[tuple[str, ...]]:
    return frozenset(_words(prompt.text) for name in NAMES for prompt in builtin_prompts(name, "test"))
