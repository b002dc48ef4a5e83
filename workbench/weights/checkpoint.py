"""A folder of safetensors, one tensor at a time: where each is, and how a folder of the same kind is written.

Nothing is held but the shard that is being made. A name may lack the prefix of the base model, or have one too many, as
checkpoints of a bare model do; transformers reads both, and so does `find`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import ModelError
from workbench.models import Subject
from workbench.runs import read_json, track, write_json
from workbench.weights.shards import INDEX, SINGLE, Entry, entries_of, opened

_FLOATS = ("F64", "F32", "BF16", "F16")
_BYTES = {"U8": 1, "I8": 1, "BOOL": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder: its configuration, and where each tensor is."""

    folder: Path
    config: Mapping[str, Any]
    entries: Mapping[str, Entry]
    prefix: str  # of the base model, "model" or "transformer"

    @classmethod
    def of(cls, subject: Subject) -> "Checkpoint":
        """The folder that a model was opened from. Raises ModelError where there is none, or it is another model."""
        if subject.folder is None or "+" in subject.digest:
            raise ModelError(
                f"{subject.name} is not the model that its folder holds: it was edited, or opened quantised; open it "
                "as it is, and export the whole recipe."
            )
        config = read_json(subject.folder / "config.json")
        if "quantization_config" in config:
            raise ModelError(f"{subject.folder} holds quantised weights, which cannot be edited; take an unquantised.")
        return cls(subject.folder, config, entries_of(subject.folder), subject.bridge.original_model.base_model_prefix)

    def find(self, name: str) -> str:
        """The name by which the folder keeps the tensor `name`. Raises ModelError where it has none."""
        bare = name.removeprefix(f"{self.prefix}.")
        for known in (name, bare, f"{self.prefix}.{name}"):
            if known in self.entries:
                return known
        raise ModelError(f"{self.folder} has no tensor {name}; its weights are kept in a way that is not known here.")

    def tensor(self, name: str) -> Tensor:
        """One tensor; what is not looked at is not read."""
        with opened(self.entries[name].file) as file:
            found = file.get_tensor(name)
            assert isinstance(found, Tensor)
            return found

    def size(self, name: str, dtype: torch.dtype) -> int:
        """The bytes of a tensor once it is of `dtype`. Raises ModelError where its numbers are not plain."""
        kind, shape = self.entries[name].dtype, self.entries[name].shape
        if kind in _FLOATS:
            return dtype.itemsize * prod(shape)
        if kind not in _BYTES:
            raise ModelError(f"{name} in {self.folder} is of {kind}, which is quantised and cannot be edited.")
        return _BYTES[kind] * prod(shape)


@dataclass(frozen=True)
class Planned:
    """A tensor that is to be written: its name, its bytes, and what makes it."""

    name: str
    size: int
    make: Callable[[], Tensor]


def write_shards(folder: Path, planned: Sequence[Planned], limit: int) -> None:
    """Make and write tensors, in files of at most `limit` bytes (or one tensor), and an index if they are several."""
    shards = _shards(planned, limit)
    names = [SINGLE] if len(shards) == 1 else [_shard_name(number, len(shards)) for number in range(len(shards))]
    with torch.no_grad():
        for name, shard in zip(names, track(shards, "Writing the weights"), strict=True):
            save_file({each.name: each.make() for each in shard}, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        where = {each.name: name for name, shard in zip(names, shards, strict=True) for each in shard}
        total = {"total_size": sum(each.size for each in planned)}
        write_json(folder / INDEX, {"metadata": total, "weight_map": where})


def _shards(planned: Sequence[Planned], limit: int) -> list[list[Planned]]:
    found: list[list[Planned]] = [[]]
    for each in planned:
        if found[-1] and sum(one.size for one in found[-1]) + each.size > limit:
            found.append([])
        found[-1].append(each)
    return found


def _shard_name(number: int, count: int) -> str:
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"
