"""A control vector as a GGUF file: one vector for each of some layers, added to what the layer leaves in the stream.

    direction.k    [d_model] float32    is added to the output of block k, counted from 0; k >= 1

So llama.cpp applies it (common_control_vector_load keeps direction.k at place k - 1, llama_adapter_cvec gives block k
what stands at place k - 1, and block 0 nothing), and so repeng writes it. `general.architecture` is "controlvector";
`controlvector.model_hint` says for which kind of model, `controlvector.layer_count` how many vectors there are.

The file may be anybody's. The gguf package, which writes here, believes every count that it reads: an array of 2^60
numbers behind the end of the file keeps it busy for ever. So the reader is our own. It reads nothing before it knows
that the bytes are there, and it knows no more of the format than a control vector needs.
"""

import os
import re
import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from jaxtyping import Float
from torch import Tensor

from workbench.errors import DirectionError
from workbench.runs import writing

ARCHITECTURE = "controlvector"
MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_KEYS = 256
_MOST_TENSORS = 4096
_MOST_ITEMS = 1 << 16  # of an array of texts
_LONGEST = 1 << 20  # bytes of a text
_FORMS = {
    GGUFValueType.UINT8: "B", GGUFValueType.INT8: "b", GGUFValueType.UINT16: "H", GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I", GGUFValueType.INT32: "i", GGUFValueType.UINT64: "Q", GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT32: "f", GGUFValueType.FLOAT64: "d", GGUFValueType.BOOL: "?",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ControlVector:
    """Vectors by the layer whose output they are added to. Raises DirectionError where they are not that."""

    layers: Mapping[int, Float[Tensor, " d_model"]]
    model_hint: str = ""

    def __post_init__(self) -> None:
        if not self.layers:
            raise DirectionError("A control vector needs at least one layer; this one has none.")
        for layer, values in self.layers.items():
            if layer < 1:
                raise DirectionError(f"direction.{layer} has no meaning: a control vector begins at direction.1.")
            if values.ndim != 1 or values.dtype != torch.float32 or not bool(torch.isfinite(values).all()):
                raise DirectionError(f"direction.{layer} is not a vector of finite float32 numbers.")
        if len(widths := sorted({len(values) for values in self.layers.values()})) > 1:
            raise DirectionError(f"The layers of a control vector are equally wide; these are {widths}.")

    def __repr__(self) -> str:
        return f"ControlVector({len(self.layers)} layers x {self.width}, for {self.model_hint or 'a model not named'})"

    @property
    def width(self) -> int:
        return len(next(iter(self.layers.values())))

    def write(self, path: Path) -> Path:
        """Write the file, whole or not at all."""
        with writing(path) as draft, closing(GGUFWriter(draft, ARCHITECTURE)) as writer:
            writer.add_string(f"{ARCHITECTURE}.model_hint", self.model_hint)
            writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(self.layers))
            for layer, values in sorted(self.layers.items()):
                writer.add_tensor(f"direction.{layer}", values.detach().cpu().contiguous().numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        return path

    @classmethod
    def read(cls, path: Path) -> "ControlVector":
        """Read a file of ours, of llama.cpp or of repeng."""
        if not path.is_file():
            raise DirectionError(f"There is no file {path}; give a control vector (.gguf).")
        try:
            with path.open("rb") as file:
                return _Reader(path, file).control_vector()
        except OSError as error:
            raise DirectionError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error


@dataclass(frozen=True)
class _Place:
    """Where a layer's numbers are: `offset` bytes behind the beginning of all tensors."""

    layer: int
    width: int
    offset: int


class _Reader:
    """Reads a file from front to back, and never asks for more than is left of it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.left = os.fstat(file.fileno()).st_size

    def control_vector(self) -> ControlVector:
        tensors, keys = self._opening()
        values = self._values(keys)
        if values.get("general.architecture") != ARCHITECTURE:
            self._fail("it does not say that it is a control vector (general.architecture)")
        places = self._places(tensors)
        self._skip(-self.file.tell() % self._alignment(values), "the padding before its numbers")
        return self._checked(self._layers(places), values.get(f"{ARCHITECTURE}.model_hint"))

    def _opening(self) -> tuple[int, int]:
        """How many tensors and how many values follow."""
        if self._take(4, "its first word") != MAGIC:
            self._fail("it does not begin as a GGUF file does")
        version = self._number("I", "its version")
        if version & 0xFFFF == 0:
            self._fail("it is written for a big-endian machine; convert it with gguf_convert_endian")
        if version not in _VERSIONS:
            self._fail(f"it is of version {version}, and versions 2 and 3 are read")
        return self._number("Q", "its counts"), self._number("Q", "its counts")

    def _values(self, count: int) -> dict[str, Any]:
        """What it says of itself. A model is recognised by its first value, and not read on."""
        if count > _MOST_KEYS:
            self._fail(f"it has {count} values, and a control vector has few")
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text("a key")
            if key in found:
                self._fail(f"it says {key[:64]!r} twice")
            found[key] = self._value(self._number("I", "a kind"), key)
            if key == "general.architecture" and found[key] != ARCHITECTURE:
                self._fail(f"its architecture is {str(found[key])[:64]!r}, a model or an adapter of one")
        return found

    def _value(self, kind: int, key: str) -> Any:
        """One value; of an array nothing is kept, for none is needed."""
        if kind == GGUFValueType.STRING:
            return self._text(f"{key[:64]!r}")
        if kind == GGUFValueType.ARRAY:
            return self._skip_array(key)
        if kind not in _FORMS:
            self._fail(f"{key[:64]!r} is of a kind ({kind}) that is not known")
        return self._number(_FORMS[GGUFValueType(kind)], f"{key[:64]!r}")

    def _skip_array(self, key: str) -> None:
        kind, count = self._number("I", "an array"), self._number("Q", "an array")
        if kind in _FORMS:
            self._skip(count * struct.calcsize(_FORMS[GGUFValueType(kind)]), f"{key[:64]!r}")
        elif kind == GGUFValueType.STRING and count <= _MOST_ITEMS:
            for _ in range(count):
                self._skip(self._number("Q", "a length"), f"{key[:64]!r}")
        else:
            self._fail(f"{key[:64]!r} is an array that no control vector has")

    def _places(self, count: int) -> list[_Place]:
        """Where the vectors are; each layer has one."""
        if count > _MOST_TENSORS:
            self._fail(f"it has {count} tensors, and a control vector has one a layer")
        found = [self._place() for _ in range(count)]
        if twice := [place.layer for place in found if sum(place.layer == each.layer for each in found) > 1]:
            self._fail(f"direction.{twice[0]} is in it twice")
        return found

    def _place(self) -> _Place:
        name = self._text("a tensor's name")
        known = re.fullmatch(r"direction\.(0|[1-9][0-9]{0,5})", name)
        if known is None:
            self._fail(f"its tensor {name[:64]!r} is not called direction.LAYER")
        if (axes := self._number("I", name)) != 1:
            self._fail(f"{name} has {axes} axes, and a vector has one")
        width, kind, offset = self._number("Q", name), self._number("I", name), self._number("Q", name)
        if kind != GGMLQuantizationType.F32:
            self._fail(f"{name} is not float32 (its type is {kind})")
        return _Place(int(known[1]), width, offset)

    def _alignment(self, values: Mapping[str, Any]) -> int:
        found = values.get("general.alignment", 32)
        if type(found) is not int or found < 1 or found & (found - 1):
            self._fail("its alignment is not a power of two")
        return found

    def _layers(self, places: list[_Place]) -> dict[int, Tensor]:
        """The numbers. All together they are no longer than the rest of the file, even where they overlap."""
        if sum(4 * place.width for place in places) > self.left:
            self._fail("its numbers are longer than the file")
        begin, room, found = self.file.tell(), self.left, {}
        for place in places:
            if place.offset + 4 * place.width > room:
                self._fail(f"direction.{place.layer} lies behind the end of the file")
            self.file.seek(begin + place.offset)
            numbers = np.frombuffer(self.file.read(4 * place.width), dtype="<f4").astype(np.float32)
            found[place.layer] = torch.from_numpy(numbers)
        return found

    def _checked(self, layers: dict[int, Tensor], hint: Any) -> ControlVector:
        try:
            return ControlVector(layers, hint if isinstance(hint, str) else "")
        except DirectionError as error:
            raise DirectionError(f"{self.path}: {error}") from None

    def _take(self, count: int, what: str) -> bytes:
        if count > self.left:
            self._fail(f"it ends in the middle of {what}")
        self.left -= count
        return self.file.read(count)

    def _skip(self, count: int, what: str) -> None:
        if count > self.left:
            self._fail(f"it ends in the middle of {what}")
        self.left -= count
        self.file.seek(count, os.SEEK_CUR)

    def _number(self, form: str, what: str) -> Any:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(form), what))[0]

    def _text(self, what: str) -> str:
        length = self._number("Q", what)
        if length > _LONGEST:
            self._fail(f"{what} is {length} bytes long, or the file is damaged")
        return self._take(length, what).decode("utf-8", errors="replace")

    def _fail(self, what: str) -> NoReturn:
        raise DirectionError(f"{self.path} is not a control vector, or is damaged: {what}.")
