"""What the microscope is asked for, and the job that looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.dashboard import shelf
from workbench.dashboard.engine import Job
from workbench.errors import DirectionError, PromptError, SearchError, UsageError

if TYPE_CHECKING:
    from probes.microscope.seen import Seen
    from workbench.directions.asset import Watchable
    from workbench.models import Subject
    from workbench.prompts import Prompt

MOST_CHARACTERS = 4_000  # it is in the address of the page


@dataclass(frozen=True)
class Wish:
    """What is to be looked at: a text, or a prompt of the chat, along which direction and under which recipe."""

    text: str
    prefill: str
    said: "Prompt | None"
    direction: str
    upload: bytes | None
    recipe: str
    followed: tuple[str, ...]
    last: int

    def prompt(self) -> "Prompt":
        """What the model reads. Raises PromptError where it is empty or too long."""
        from workbench.prompts import Prompt

        if self.said is not None:
            return self.said
        if not self.text.strip():
            raise PromptError("The text is empty; write something for the microscope.")
        if len(self.text) + len(self.prefill) > MOST_CHARACTERS:
            raise PromptError(f"The text is longer than {MOST_CHARACTERS:,} characters; shorten it.")
        return Prompt(text=self.text, prefill=self.prefill)


def work(wish: Wish) -> "Callable[[Subject, Job], Seen]":
    """The job that looks."""

    def looking(subject: "Subject", job: Job) -> "Seen":
        from probes.microscope.looking import look

        watched = _watched(wish)
        followed = _followed(subject, wish, watched)
        return look(
            subject, wish.prompt(), watched, followed, recipe=shelf.read(wish.recipe), written=wish.recipe.strip(),
            last=wish.last,
        )  # fmt: skip

    return looking


def _watched(wish: Wish) -> "Watchable":
    from workbench.dashboard.parts.uploads import asset_of
    from workbench.directions.asset import Watchable

    found = shelf.load(wish.direction) if wish.upload is None else asset_of(wish.upload)
    if not isinstance(found, Watchable):
        raise DirectionError("The uploaded file holds nothing that has a coordinate; give a direction or a probe.")
    return found


def _followed(subject: "Subject", wish: Wish, watched: "Watchable") -> tuple[int, ...]:
    """The tokens that are named; else those the direction was chosen by, else those of the model's refusals."""
    from probes.lenses import single_token
    from workbench.evaluation.refusal import from_quality, refusal_tokens
    from workbench.prompts import builtin_prompts

    if wish.followed:
        return tuple(single_token(subject, text) for text in wish.followed)
    quality = getattr(watched, "quality", None)
    kept = from_quality(quality) if isinstance(quality, Mapping) else ()
    try:
        return kept or refusal_tokens(subject, builtin_prompts("harmful", "train")).ids
    except SearchError:
        raise UsageError(
            f"{subject.name} refuses nothing, so the first tokens of its refusals are unknown; name tokens to follow."
        ) from None
