"""An edit is a pure function of activations. It knows no mask, no cache and no model."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Asset, Direction
from workbench.errors import RecipeError
from workbench.interventions.linear import LinearMap
from workbench.models import Site
from workbench.registry import Registry

if TYPE_CHECKING:
    from workbench.interventions.recipe import Recipe

edits: "Registry[type[Edit]]" = Registry("edit", "workbench.interventions.edits", "workbench.edits")

SiteSpec = str | int | Site | Sequence[str | int | Site]
E = TypeVar("E", bound="Edit")


def finite(value: float | int, what: str) -> float | int:
    """`value`, or RecipeError where it is not a finite number, or a whole one that 64 bits do not hold."""
    try:
        if math.isfinite(value) and (isinstance(value, float) or abs(value) < 2**63):
            return value
    except OverflowError:
        value = math.inf
    raise RecipeError(f"{what} is {value:g}; give a finite number.")


def number(value: float | int) -> str:
    """A number as recipes write it: short where that is the same number, whole where it is not."""
    short = format(value, "g")
    return (short if float(short) == value else repr(value)).replace("e+", "e")


def control(default: Any, *, low: float, high: float, help: str) -> Any:
    """A numeric field of an edit that front ends show as an option or a slider between `low` and `high`."""
    return field(default=default, metadata={"low": low, "high": high, "help": help})


@dataclass(frozen=True)
class Edit(ABC):
    """A change of activations [batch pos d_model], written as a frozen dataclass.

    Subclasses hold what they need of directions and other assets first, then their numbers as `control` fields, among
    them a `strength`, of which 0 changes nothing and 1 is the whole edit. They compute in float32: the caller gives and
    takes the model's own dtype.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type in (float, int) and not isinstance(value, bool):
                kind: Any = item.type
                what = f"{type(self).__name__}: {item.name}"
                object.__setattr__(self, item.name, finite(kind(finite(value, what)), what))

    @abstractmethod
    def __call__(self, acts: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The edited activations; the argument is left as it was."""

    def partly(
        self, acts: Float[Tensor, "batch pos d_model"], share: Float[Tensor, "batch pos 1"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The edit by a share of its strength at each token: the straight way, unless an edit knows a better one."""
        edited = self(acts.float())  # not rounded before it is a share, for the whole of it may not fit the dtype
        return torch.where(share == 1.0, edited, torch.lerp(acts.float(), edited, share)).to(acts.dtype)

    def linear(self) -> LinearMap | None:
        """The edit as matrices, which weights can hold; None where it is no linear function of the activation."""
        return None

    @property
    def is_identity(self) -> bool:
        """Whether the edit changes nothing, whatever it is given."""
        return bool(getattr(self, "strength", 1.0) == 0.0)

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The directions, stored activations and features that the edit holds, also inside edits that it holds."""
        found: list[Asset] = []
        for item in fields(self):
            value = getattr(self, item.name)
            for each in value if isinstance(value, tuple) else (value,):
                found.extend(each.assets if isinstance(each, Edit) else [each] if isinstance(each, Asset) else [])
        return tuple(found)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions among its assets."""
        return tuple(asset for asset in self.assets if isinstance(asset, Direction))

    @property
    def control_match(self) -> str:
        """How a random control is matched: by the "norm" of a vector that is written, by the "projection" that is
        removed, or, for any other edit, by a "placebo" that turns every change it makes another way."""
        return "placebo"

    def mapped(self: E, change: Callable[[Direction], Direction]) -> E:
        """The same edit with every direction replaced by `change(direction)`."""
        return replace(self, **{item.name: _mapped(getattr(self, item.name), change) for item in fields(self)})

    @classmethod
    def controls(cls) -> "tuple[Field[Any], ...]":
        """The numeric fields that a person can turn."""
        return tuple(item for item in fields(cls) if "low" in item.metadata)

    def at(self, sites: SiteSpec, tokens: str = "all", **when: Any) -> "Recipe":
        """A recipe of this edit alone at `sites` and `tokens`, with a `gate` or a `schedule` (see `Placement`)."""
        from workbench.interventions.placement import Placement
        from workbench.interventions.recipe import Recipe

        return Recipe((Placement.of(self, sites, tokens, **when),))


def _mapped(value: Any, change: Callable[[Direction], Direction]) -> Any:
    if isinstance(value, Direction):
        return change(value)
    if isinstance(value, Edit):
        return value.mapped(change)
    return tuple(_mapped(each, change) for each in value) if isinstance(value, tuple) else value
