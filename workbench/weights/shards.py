"""The tensors of a folder of safetensors: where each is, and how one is read, with no model opened.

No pickle is read and no code of a folder's is used: names, shapes and dtypes come from the files' headers alone. A file
is opened anew for every tensor, so that what was mapped of it is given back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workbench.errors import ModelError
from workbench.runs import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Entry:
    """Where a tensor is, and what its header says of it."""

    file: Path
    stored: str
    shape: tuple[int, ...]
    dtype: str


def entries_of(folder: Path) -> dict[str, Entry]:
    """Every tensor by the name that it is stored under. Raises ModelError where a file is not whole, or is missing."""
    index = None if (folder / SINGLE).exists() or not (folder / INDEX).exists() else _index(folder)
    found: dict[str, Entry] = {}
    for file in _files(folder, index):
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118
                part = tensors.get_slice(name)
                found[name] = Entry(file, name, tuple(part.get_shape()), str(part.get_dtype()))
    if lacking := sorted((index or {}).keys() - found.keys()):
        raise ModelError(f"{folder} lacks {lacking[0]}, which its index names; fetch it again.")
    return found


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A file of safetensors. Raises ModelError where it is damaged, also in the middle of a read."""
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is truncated or damaged ({error}); fetch it again.") from error


def _files(folder: Path, index: Mapping[str, str] | None) -> list[Path]:
    """The files that a model is read from: one, those of the index, or all there are."""
    if index is None:
        return [folder / SINGLE] if (folder / SINGLE).exists() else sorted(folder.glob("*.safetensors"))
    names = sorted(set(index.values()))
    if lacking := [name for name in names if Path(name).name != name or not (folder / name).is_file()]:
        raise ModelError(f"{folder} lacks {lacking[0]}, which its index names; fetch it again.")
    return [folder / name for name in names]


def _index(folder: Path) -> dict[str, str]:
    value = read_json(folder / INDEX)
    found = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ModelError(f"{folder / INDEX} is no index of tensors; fetch it again.")
    return found
