"""A method of making a lens: a frozen dataclass in `methods/`, whose fields are its options.

What learns is given a `Lesson`; what does not learn has no use for one.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from probes.lenses.lens import Lens, stream_sites
from probes.lenses.streams import Streams, gather_streams
from workbench.errors import LensError
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.registry import Registry


@dataclass(frozen=True)
class Lesson:
    """What to learn from; with a `checkpoint`, fitting that was stopped goes on from there.

    Streams are read once for a lesson and its control, which `kept_at` makes of it.
    """

    prompts: Prompts
    checkpoint: Path | None = None
    _read: dict[Any, Streams] = field(default_factory=dict, repr=False, compare=False)

    def kept_at(self, checkpoint: Path) -> "Lesson":
        """The same lesson with another checkpoint."""
        return replace(self, checkpoint=checkpoint)

    def streams(self, subject: Subject, most: int) -> Streams:
        """The streams of up to `most` tokens at every site."""
        key = (subject.digest, str(subject.dtype), most)
        if key not in self._read:
            self._read[key] = gather_streams(subject, self.prompts, stream_sites(subject), most=most)
        return self._read[key]


@runtime_checkable
class Method(Protocol):
    """Makes a lens of a model."""

    @property
    def learns(self) -> bool:
        """Whether there is anything to fit."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Its fields as JSON keeps them."""
        ...

    def fit(self, subject: Subject, lesson: Lesson | None = None) -> Lens: ...

    def control(self) -> Any:
        """The same method, taught what says nothing; None where it has no such control."""
        ...


lens_methods: "Registry[type[Any]]" = Registry("lens", "probes.lenses.methods", "workbench.lenses")


def require_lesson(lesson: Lesson | None, name: str) -> Lesson:
    """The lesson; LensError where there is none, or too little of it."""
    if lesson is None or len(lesson.prompts) < 2:
        raise LensError(f"The {name} lens is fitted to prompts, two or more; give some with --fit-on.")
    return lesson
