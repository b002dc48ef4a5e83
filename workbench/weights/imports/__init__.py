"""What others made, as recipes and directions of our own: one file a kind, chosen by what is in the source.

Nothing that is read here may run code. A pickle does, and is refused by whatever name it comes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import DirectionError, RecipeError
from workbench.interventions import Recipe
from workbench.models import Site, Subject
from workbench.registry import Registry

_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".npz")
_PICKLED = (b"PK\x03\x04", b"\x80")  # a zip, as torch.save and numpy.savez write it; a bare pickle


@dataclass(frozen=True)
class Imported:
    """What a source holds: a recipe, or directions, of which it does not say what to do with them; and a line on it."""

    what: str
    recipe: Recipe = field(default_factory=Recipe)
    directions: tuple[Direction, ...] = ()


@dataclass(frozen=True)
class Importer(ABC):
    """A kind of source. `takes_site` says that it has to be told where its vectors belong."""

    takes_site: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, source: Path) -> bool:
        """Whether a file or folder is of this kind, by what is in it."""

    @abstractmethod
    def read(self, subject: Subject, source: Path, site: str | None) -> Imported:
        """Read it for `subject`. Raises DirectionError or RecipeError where it is damaged, unfit or something else."""


importers: "Registry[type[Importer]]" = Registry("import", "workbench.weights.imports", "workbench.imports")


def import_from(subject: Subject, source: Path, site: str | None = None) -> Imported:
    """Read what others made for `subject`; `site` says where vectors belong that do not say so themselves.

    Raises DirectionError or RecipeError, which say what the source is instead, and what to do with that.
    """
    if not source.exists():
        raise DirectionError(f"There is no {source}; give a control vector, an adapter's folder or a file of vectors.")
    kind = next((kind() for _, kind in importers.items() if kind().recognises(source)), None)
    if kind is None:
        raise DirectionError(_unknown(source))
    if site is not None and not kind.takes_site:
        raise RecipeError(f"{source} says itself where it belongs; leave out --site.")
    return kind.read(subject, source, site)


def import_recipe(subject: Subject, source: Path) -> Recipe:
    """The recipe in a control vector or an adapter; RecipeError where there is none."""
    found = import_from(subject, source)
    if found.directions:
        raise RecipeError(f"{source} is {found.what}, and says not what to do with it; ablate it, or add it.")
    return found.recipe


def as_direction(subject: Subject, values: Float[Tensor, " d_model"], site: Site, method: str) -> Direction:
    """A vector as a direction from 0, as long as the vector is, so that adding it once adds the vector.

    The length is rounded to float32 first, in which an addition multiplies: so every coordinate comes back to within
    one unit in its last place. Raises DirectionError where the vector is zero or not finite.
    """
    wide = values.detach().cpu().double()
    length = float(wide.norm().float())
    if not 0 < length < float("inf"):
        raise DirectionError(f"The vector at {site} has the length {length}, and so no direction.")
    return Direction((wide / length).float(), 0.0, length, site, None, method, subject.name, subject.digest)


def begins_with(source: Path, count: int) -> bytes:
    """The first bytes of a file; none where it is no file, or cannot be read."""
    try:
        with source.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _unknown(source: Path) -> str:
    if source.is_dir():
        return f"{source} holds no adapter_config.json; give an adapter's folder, or a file in it."
    if source.suffix.lower() in _PICKLES or begins_with(source, 4).startswith(_PICKLED):
        return (
            f"{source} is a pickle, or an archive that may hold one, and a pickle runs code when it is read; convert "
            "it to safetensors."
        )
    return f"{source} is no GGUF, safetensors or .npy file; convert it to safetensors."
