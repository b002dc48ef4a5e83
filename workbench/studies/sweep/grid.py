"""What is swept: a recipe with places in it, and what fills them in."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

from workbench.directions import Asset
from workbench.errors import RecipeError, UsageError
from workbench.evaluation.metrics import metric_by_name
from workbench.evaluation.suites import Suite, suite_with


@dataclass(frozen=True)
class Grid:
    """What is swept. `recipe` is written with the places to fill in; `directions` are files by name.

    `metrics` are the names of those to measure by beside the suite's.
    """

    models: tuple[str, ...]
    recipe: str
    directions: Mapping[str, Path] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    dtype: str | None = None
    controls: bool = True

    def __post_init__(self) -> None:
        filled = self._places()
        given = {"direction": self.directions, "layer": self.layers, "strength": self.strengths}
        if unknown := filled - given.keys():
            raise RecipeError(
                f"{{{unknown.pop()}}} cannot be filled in; there are {{direction}}, {{layer}}, {{strength}}."
            )
        for name, values in given.items():
            if (name in filled) and not values:
                raise RecipeError(f"The recipe has {{{name}}} in it, and no --{name} was given to fill it in.")
        if not self.models:
            raise UsageError("A sweep needs a model; give --model.")
        for name in self.metrics:
            metric_by_name(name)

    def _places(self) -> set[str]:
        try:
            parsed = list(Formatter().parse(self.recipe))
        except ValueError as error:
            raise RecipeError(f"The recipe {self.recipe!r} cannot be filled in ({error}); mend its braces.") from None
        if odd := [name for _, name, spec, conversion in parsed if name is not None and (spec or conversion)]:
            raise RecipeError(f"Write {{{odd[0]}}} without anything behind its name.")
        return {name for _, name, _, _ in parsed if name is not None}

    def recipes(self) -> Iterator[str]:
        """Every way to fill the recipe in, once."""
        ways = product(self.directions or ("",), self.layers or ("",), self.strengths or ("",))
        filled = (self.recipe.format(direction=d, layer=la, strength=s) for d, la, s in ways)
        yield from dict.fromkeys(filled)

    def suite(self, name: str) -> Suite:
        """The suite of that name, with the metrics of the grid."""
        return suite_with(name, self.metrics)


def grid_json(grid: Grid, assets: Mapping[str, Asset]) -> dict[str, Any]:
    """The grid as a manifest keeps it: directions by content, not by place."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(grid).items()}
    return plain | {"directions": {name: asset.digest for name, asset in assets.items()}}
