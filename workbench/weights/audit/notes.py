"""What is to be known beside the verdict, in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

from workbench.directions import Direction
from workbench.weights.audit.comparing import Compared
from workbench.weights.audit.finding import Found
from workbench.weights.audit.pairing import Opened


def notes_of(opened: Opened, compared: Sequence[Compared], found: Found, direction: Direction | None) -> Iterator[str]:
    """All that apply."""
    writes = [one for one in compared if one.part.writer is not None]
    if any(one.changed for one in writes) and opened.writers[-1].norm_follows:
        yield "In this architecture a norm follows what writes to the stream: an edit of the weights does not clear it."
    if opened.tied and any(one.changed for one in writes if one.part.writer is opened.writers[0]):
        yield "The unembedding is the embedding: what tokens score has changed with what they write."
    yield from _untied(compared)
    yield from _others(compared, found)
    yield from _listed(compared)
    if opened.dtypes[0] != opened.dtypes[1]:
        yield f"The suspect is in {opened.dtypes[0]} and the base in {opened.dtypes[1]}."
    if direction is not None and direction.model_digest != opened.base.digest:
        yield (
            f"The direction was found in {direction.model_name} ({direction.model_digest[:8]}), and the base is "
            f"{opened.base.name} ({opened.base.digest[:8]})."
        )


def _untied(compared: Sequence[Compared]) -> Iterator[str]:
    for one in compared:
        if one.part.pair is not None and one.part.pair.suspect_name:
            how = "as in the base" if not one.changed else f"changed by {one.whole.size:.2g} of its size"
            yield f"The unembedding was untied from the embedding ({one.part.name}); it is {how}."


def _others(compared: Sequence[Compared], found: Found) -> Iterator[str]:
    """What changed beside the writers."""
    others = [one for one in compared if one.part.writer is None and one.part.pair is not None]
    changed = [one for one in others if one.changed]
    if not changed:
        return
    beside = (
        " It was trained too, before or after the edit." if len(found.units) and len(changed) > len(others) / 2 else ""
    )
    yield f"{len(changed)} of {len(others)} tensors that do not write to the stream changed.{beside}"


def _listed(compared: Sequence[Compared]) -> Iterator[str]:
    counts = Counter(one.status for one in compared)
    for status in ("missing", "added", "resized"):
        if counts[status]:
            first = next(one.part.name for one in compared if one.status == status)
            more = f" and {counts[status] - 1} more" if counts[status] > 1 else ""
            yield f"{status.capitalize()}: {first}{more}."
    if counts["rounded"]:
        yield f"{counts['rounded']} tensors differ by no more than the rounding to a coarser dtype."
