"""Which tensors of two checkpoints belong together, and whether one can be a version of the other at all.

A tied embedding that was untied has its unembedding compared with the embedding it came from. What only one of them
has, or has in another shape, is listed; where that concerns the body of the model, they are two models: an error.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ModelError
from workbench.models import Writer, writers_of_folder
from workbench.models.sources import Source, resolve
from workbench.runs import read_json
from workbench.weights.audit.reading import FLOATS, Pair, Stored
from workbench.weights.shards import Entry

_PRECISIONS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_DEFAULT = "bfloat16"


@dataclass(frozen=True)
class Part:
    """A tensor by its name in the suspect, with its counterpart where it has one; `writer` where it writes."""

    name: str
    shape: tuple[int, ...]
    pair: Pair | None
    missing: bool = False  # from the suspect
    writer: Writer | None = None


@dataclass(frozen=True)
class Opened:
    """Two checkpoints of one architecture, and all their tensors."""

    suspect: Source
    base: Source
    writers: tuple[Writer, ...]
    parts: tuple[Part, ...]
    tied: bool  # the suspect's unembedding is its embedding
    d_model: int
    dtypes: tuple[str, str]  # most tensors' of the suspect, and of the base


def open_both(suspect: str, base: str) -> Opened:
    """Find both and read their headers. Raises ModelError where the suspect is no version of the base."""
    theirs = resolve(suspect, _DEFAULT)
    other = _stored(theirs, suspect, "")
    ours = resolve(base, _precision(other))
    writers = writers_of_folder(ours.folder)
    known = writers[0].names[0]
    names = (ours.name, theirs.name) if ours.name != theirs.name else (base, suspect)
    one, other = (_stored(source, name, known) for source, name in zip((ours, theirs), names, strict=True))
    kinds = [kind for source in (theirs, ours) if (kind := _kind(source))]
    if len(set(kinds)) == 2:
        raise _no_version(other, one, f"it is of the architecture {kinds[0]} and not {kinds[1]}")
    _require_same(one, other, writers)
    parts = tuple(_parts(one, other, writers))
    untied = any(part.pair is not None and part.pair.suspect_name for part in parts)
    d_model = one.entries[known].shape[writers[0].axis]
    dtypes = (_precision(other), _precision(one))
    return Opened(theirs, ours, writers, parts, writers[0].tied and not untied, d_model, dtypes)


def _stored(source: Source, name: str, known: str) -> Stored:
    config = read_json(source.folder / "config.json")
    if isinstance(config, dict) and "quantization_config" in config:
        raise ModelError(f"{name} holds quantised weights; audit the weights that they were made from.")
    return Stored.of(Path(source.folder), name, known)


def _kind(source: Source) -> str:
    """The architecture that a checkpoint says it is of; empty where that is none that is known."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = read_json(source.folder / "config.json")
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind if isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES else ""


def _precision(stored: Stored) -> str:
    """The dtype of most tensors, in which the base is converted where it must be."""
    most = Counter(entry.dtype for entry in stored.entries.values()).most_common(1)
    return _PRECISIONS.get(most[0][0], _DEFAULT) if most else _DEFAULT


def _require_same(one: Stored, other: Stored, writers: tuple[Writer, ...]) -> None:
    """Raise ModelError where both are not the same architecture, or hold no plain numbers."""
    for name in (name for writer in writers for name in writer.names):
        if name not in one.entries:
            raise ModelError(f"{one.name} has no tensor {name}; its weights are kept in a way that is not known here.")
    embedding = one.entries[writers[0].names[0]].shape
    depths = {_depthless(name) for name in one.entries}
    for name in sorted(one.entries.keys() | other.entries.keys()):
        ours, theirs = one.entries.get(name), other.entries.get(name)
        for stored, entry in ((one, ours), (other, theirs)):
            if entry is not None and len(entry.shape) == 2 and entry.dtype not in FLOATS:
                raise ModelError(
                    f"{name} of {stored.name} is of {entry.dtype}, which is quantised; audit the weights that it was "
                    "made from."
                )
        if why := _differs(name, ours, theirs, embedding, depths):
            raise _no_version(other, one, why)


def _no_version(suspect: Stored, base: Stored, why: str) -> ModelError:
    return ModelError(
        f"{suspect.name} is no version of {base.name} ({why}); give the model that it was made from as the base."
    )


def _differs(name: str, ours: Entry | None, theirs: Entry | None, embedding: tuple[int, ...], depths: set[str]) -> str:
    """Why a tensor shows that these are two models; nothing where it does not."""
    if ours is not None and theirs is not None:
        resized = ours.shape[1:] == theirs.shape[1:] and len(ours.shape) == 2 and ours.shape == embedding
        return "" if ours.shape == theirs.shape or resized else f"{name} is {theirs.shape}, not {ours.shape}"
    there = ours or theirs
    if there is None or len(there.shape) < 2 or there.shape == embedding:
        return ""
    if theirs is None:
        return f"it has no {name}"
    return f"it has {name}, a layer more" if _depthless(name) in depths else ""


def _depthless(name: str) -> str:
    """A tensor's name without the numbers of its layer and expert."""
    return re.sub(r"\.\d+\.", ".#.", name)


def _parts(one: Stored, other: Stored, writers: tuple[Writer, ...]) -> Iterator[Part]:
    of = {name: writer for writer in writers for name in writer.names}
    embedding = writers[0].names[0]
    for name, entry in one.entries.items():
        if name not in other.entries:
            yield Part(name, entry.shape, None, missing=True)
            continue
        writer = of.get(name)
        axis = _stream_axis(writer, entry) if writer is not None else _shorter(entry)
        yield Part(name, other.entries[name].shape, Pair(name, one, other, axis), writer=writer)
    for name in (name for name in other.entries if name not in one.entries):
        entry = other.entries[name]
        untied = writers[0].tied and entry.shape == other.entries[embedding].shape
        pair = Pair(embedding, one, other, writers[0].axis, name) if untied else None
        yield Part(name, entry.shape, pair)


def _stream_axis(writer: Writer, entry: Entry) -> int:
    """Where the stream lies in the stored tensor; experts that are one tensor have it in the middle."""
    return 1 if len(entry.shape) == 3 else writer.axis


def _shorter(entry: Entry) -> int:
    """The axis that makes the smaller Gram matrix."""
    return min(range(len(entry.shape)), key=lambda axis: entry.shape[axis], default=0)
