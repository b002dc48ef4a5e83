"""An edit is a pure function of activations. It knows no mask, no cache and no model."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction
from workbench.errors import RecipeError
from workbench.models import Site
from workbench.registry import Registry

if TYPE_CHECKING:
    from workbench.interventions.recipe import Recipe

edits: "Registry[type[Edit]]" = Registry("edit", "workbench.interventions.edits", "workbench.edits")

SiteSpec = str | int | Site | Sequence[str | int | Site]
E = TypeVar("E", bound="Edit")


def control(default: float, *, low: float, high: float, help: str) -> Any:
    """A numeric field of an edit that front ends show as an option or a slider between `low` and `high`."""
    return field(default=default, metadata={"low": low, "high": high, "help": help})


@dataclass(frozen=True)
class Edit(ABC):
    """A change of activations [batch pos d_model], written as a frozen dataclass.

    Subclasses hold at least one `Direction` and their numbers as `control` fields, and compute in float32: the
    caller gives and takes the model's own dtype.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float | int) and not math.isfinite(value):
                raise RecipeError(f"{type(self).__name__}: {item.name} is {value}; give a finite number.")

    @abstractmethod
    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The edited activations; the argument is left as it was."""

    @property
    @abstractmethod
    def is_identity(self) -> bool:
        """Whether the edit changes nothing, whatever it is given."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that the edit holds."""
        held = (getattr(self, item.name) for item in fields(self))
        return tuple(value for value in held if isinstance(value, Direction))

    @property
    @abstractmethod
    def control_match(self) -> str:
        """How a random control is matched: "norm" where a vector is written, "projection" where one is removed."""

    def mapped(self: E, change: Callable[[Direction], Direction]) -> E:
        """The same edit with every direction replaced by `change(direction)`."""
        held = {item.name: getattr(self, item.name) for item in fields(self)}
        new = {name: change(value) for name, value in held.items() if isinstance(value, Direction)}
        return replace(self, **new)

    @classmethod
    def controls(cls) -> "tuple[Field[Any], ...]":
        """The numeric fields that a person can turn."""
        return tuple(item for item in fields(cls) if "low" in item.metadata)

    def at(self, sites: SiteSpec, tokens: str = "all") -> "Recipe":
        """A recipe of this edit alone at `sites` and `tokens` (see `Placement`)."""
        from workbench.interventions.placement import Placement
        from workbench.interventions.recipe import Recipe

        return Recipe((Placement.of(self, sites, tokens),))
