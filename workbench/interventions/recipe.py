"""A recipe: placements in order. It is a value, travels with a request, and never rests on a model.

On disk it is JSON, with each direction beside it as safetensors, named by its digest.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.directions import Direction
from workbench.errors import RecipeError, first_fault
from workbench.interventions.edit import Edit, edits
from workbench.interventions.placement import Placement
from workbench.models import Subject
from workbench.runs import digest_json, read_json, write_json

SCHEMA = 1


class _Reference(BaseModel):
    """A direction, by its digest."""

    model_config = ConfigDict(extra="forbid", strict=True)
    direction: str


class _PlacementForm(BaseModel):
    """A placement as it is written down."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    edit: str
    arguments: dict[str, float | _Reference]
    sites: list[str]
    tokens: str = "all"


class _RecipeForm(BaseModel):
    """A recipe as it is written down."""

    model_config = ConfigDict(extra="forbid", strict=True)
    schema_version: int
    placements: list[_PlacementForm]


@dataclass(frozen=True)
class Recipe:
    """Edits to apply, in order. The empty recipe is the model as it is."""

    placements: tuple[Placement, ...] = ()

    def __add__(self, other: "Recipe") -> "Recipe":
        return Recipe(self.placements + other.placements)

    def __len__(self) -> int:
        return len(self.placements)

    def __str__(self) -> str:
        return " + ".join(str(placement) for placement in self.placements) or "nothing"

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction in it, once."""
        held = [direction for placement in self.placements for direction in placement.edit.directions]
        return tuple({direction.digest: direction for direction in held}.values())

    def mapped(self, change: Callable[[Placement], Placement]) -> "Recipe":
        """The recipe with every placement replaced by `change(placement)`."""
        return Recipe(tuple(change(placement) for placement in self.placements))

    def check_fits(self, subject: Subject) -> None:
        """Raise RecipeError or DirectionError where it cannot be applied to `subject`."""
        for placement in self.placements:
            if any(site.stream == "attn_heads" for site in placement.resolve(subject)):
                raise RecipeError(f"{placement}: the heads are not {subject.d_model} wide; place it on attn_out.")
            for direction in placement.edit.directions:
                direction.check_fits(subject)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that refers to directions by digest."""
        return {"schema_version": SCHEMA, "placements": [_placement_json(p) for p in self.placements]}

    @property
    def digest(self) -> str:
        return digest_json(self.to_json())

    @classmethod
    def from_json(cls, value: Any, directions: Callable[[str], Direction]) -> "Recipe":
        """Rebuild from `to_json`; `directions` finds a direction by its digest."""
        newest = value.get("schema_version") if isinstance(value, dict) else None
        if isinstance(newest, int) and newest > SCHEMA:
            raise RecipeError("The recipe was written by a newer workbench; update to read it.")
        try:
            form = _RecipeForm.model_validate(value)
        except ValidationError as error:
            raise RecipeError(f"This is not a recipe ({first_fault(error)}); write it again.") from None
        return cls(tuple(_placement(number, row, directions) for number, row in enumerate(form.placements, start=1)))

    def save(self, path: Path) -> Path:
        """Write the JSON, and the directions beside it."""
        for direction in self.directions:
            direction.save(_beside(path, direction.digest))
        write_json(path, self.to_json())
        return path

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Read what `save` wrote."""
        return cls.from_json(read_json(path), lambda digest: _load_direction(path, digest))


def _load_direction(path: Path, digest: str) -> Direction:
    found = Direction.load(_beside(path, digest))
    if found.digest != digest:
        raise RecipeError(f"{_beside(path, digest)} is not the direction that {path} was written with.")
    return found


def _beside(path: Path, digest: str) -> Path:
    if not (digest.isalnum() and len(digest) == 64):
        raise RecipeError(f"{path} refers to a direction by {digest!r}, which is not a digest.")
    return path.parent / f"{digest[:16]}.safetensors"


def _placement_json(placement: Placement) -> dict[str, Any]:
    held = {item.name: getattr(placement.edit, item.name) for item in fields(placement.edit)}
    arguments = {k: {"direction": v.digest} if isinstance(v, Direction) else v for k, v in held.items()}
    return {
        "edit": edits.name_of(placement.edit),
        "arguments": arguments,
        "sites": list(placement.sites),
        "tokens": placement.tokens,
    }


def _placement(number: int, row: "_PlacementForm", directions: Callable[[str], Direction]) -> Placement:
    kind: type[Edit] = edits[row.edit]
    arguments = {k: directions(v.direction) if isinstance(v, _Reference) else v for k, v in row.arguments.items()}
    mixed = [
        item.name
        for item in fields(kind)
        if item.name in arguments and isinstance(arguments[item.name], Direction) != (item.type is Direction)
    ]
    try:
        if mixed:
            raise TypeError(f"a number stands for a direction, or the other way round: {', '.join(mixed)}")
        return Placement(kind(**arguments), tuple(row.sites), row.tokens)
    except (TypeError, AttributeError) as error:
        raise RecipeError(f"Part {number} of the recipe is not a placement ({error}); write it again.") from error
