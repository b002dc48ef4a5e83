"""The lock on test parts: what is reported on is never chosen on.

A test part says of itself that it is locked; the built-in test parts are known by their prompts' digests too, so that
the lock holds for a copy in a file.
"""

from functools import cache

from workbench.errors import PromptError
from workbench.prompts.builtin import NAMES, builtin_prompts
from workbench.prompts.prompt import Prompts


def for_tuning(prompts: Prompts, what: str) -> Prompts:
    """`prompts` as they are, for `what` to choose by ("a search", "a dose").

    Raises PromptError where they are, or hold, a test part.
    """
    known = sum(prompt.digest in _locked_digests() for prompt in prompts)
    if not prompts.locked and not known:
        return prompts
    held = "is a test part" if prompts.locked else f"holds {known} prompts of a built-in test part"
    whole = prompts.name.removesuffix(":test")
    raise PromptError(
        f"{prompts.name} {held}, which is locked: {what} would tune on what is reported; give a train or validation "
        f"part, such as {whole}:val."
    )


@cache
def _locked_digests() -> frozenset[str]:
    return frozenset(prompt.digest for name in NAMES for prompt in builtin_prompts(name, "test"))
