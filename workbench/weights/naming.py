"""How others can find the model that an export was made from."""

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.models import Subject, find_entry


@dataclass(frozen=True)
class Base:
    """A hub id where there is one, else the place on this machine; `argument` is what the workbench opens it by.

    `rounded` says that it was read from a quantised file, and not from the hub's own.
    """

    name: str
    argument: str
    hub: bool = False
    revision: str | None = None
    rounded: bool = False


def base_of(subject: Subject) -> Base:
    """The model that `subject` was opened from."""
    if found := re.fullmatch(r"hub (.+)@([0-9a-f]{7,64})", subject.origin):
        return Base(found[1], found[1], True, found[2])
    entry = find_entry(subject.name)
    if entry is not None and entry.wheels is not None and entry.wheels.sha256 == subject.digest:
        return Base(entry.hub, entry.name, True, entry.revision, rounded=True)
    place = str(Path(subject.origin).absolute())
    return Base(place, place)
