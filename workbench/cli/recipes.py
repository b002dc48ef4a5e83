"""Recipes on the command line: a file, a written form, or a direction with --ablate or --add."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workbench.directions import Asset, Direction
    from workbench.interventions import Recipe

Text = Annotated[
    str | None, typer.Option("--recipe", help="A recipe: a file, an evaluation's run, or 'ablate(NAME) @ all'.")
]
Texts = Annotated[list[str] | None, typer.Option("--recipe", help="The same; may be repeated with --compare.")]
Directions = Annotated[
    list[str] | None,
    typer.Option("--direction", help="A find run or a direction file; NAME=FILE names it for --recipe."),
]
Ablated = Annotated[bool, typer.Option("--ablate", help="Ablate the direction everywhere.")]
Added = Annotated[float | None, typer.Option("--add", help="Add the direction at its layer, this many class gaps.")]

_NAMED = re.compile(r"([\w.-]+)=(.+)", re.ASCII)


@dataclass
class Names:
    """The directions, activations and features that the options name, and files that recipes name themselves."""

    held: "dict[str, Asset]" = field(default_factory=dict)

    @classmethod
    def of(cls, given: Sequence[str] | None) -> "Names":
        """From NAME=FILE or FILE, whose name is then the file's own."""
        from workbench.directions import load_asset

        names = cls()
        for text in given or []:
            named = None if Path(text).exists() else _NAMED.fullmatch(text)
            path = Path(named[2] if named else text).expanduser()
            names.held[named[1] if named else path.stem] = load_asset(path)
        return names

    def find(self, name: str) -> "Asset":
        """What a name in a recipe stands for: one that was given, or a file."""
        from workbench.directions import load_asset
        from workbench.errors import UsageError

        if name not in self.held:
            if not Path(name).exists():
                known = ", ".join(self.held) or "none was given"
                raise UsageError(
                    f"There is no direction called {name!r} (there are: {known}), and no such file; give "
                    f"--direction {name}=RUN-OR-FILE."
                )
            self.held[name] = load_asset(Path(name))
        return self.held[name]

    def write(self, asset: "Asset") -> str:
        """The name of an asset, as a recipe writes it."""
        from workbench.interventions.writing import by_digest

        name = next((name for name, held in self.held.items() if held.digest == asset.digest), by_digest(asset))
        return name if re.fullmatch(r"[\w.\-/]+", name, re.ASCII) else f'"{name}"'

    @property
    def directions(self) -> "Mapping[str, Direction]":
        """The directions among them."""
        from workbench.directions import Direction

        return {name: asset for name, asset in self.held.items() if isinstance(asset, Direction)}

    def only(self) -> "Direction":
        """The one direction that --ablate and --add are about."""
        from workbench.errors import RecipeError

        if len(self.directions) != 1 or len(self.held) != 1:
            raise RecipeError("--ablate and --add are about one --direction; write a --recipe for several.")
        return next(iter(self.directions.values()))


def read_recipe(text: str | None, names: Names, ablate: bool = False, add: float | None = None) -> "Recipe":
    """The recipe that the options name; the empty one where they name none."""
    from workbench.errors import RecipeError
    from workbench.interventions import Ablate, Add, Recipe, parse_recipe

    if text is not None:
        if ablate or add is not None:
            raise RecipeError("Give either --recipe, or --direction with --ablate or --add, not both.")
        path = Path(text)
        if path.is_dir():
            return Recipe.load(path / "recipe.json")
        return Recipe.load(path) if text.endswith(".json") or path.is_file() else parse_recipe(text, names.find)
    if not names.held:
        if ablate or add is not None:
            raise RecipeError("--ablate and --add need --direction RUN-OR-FILE; `workbench find` makes one.")
        return Recipe()
    if not ablate and add is None:
        raise RecipeError("Say what to do with the direction: --ablate, --add STRENGTH, or a --recipe.")
    found = names.only()
    made = Ablate(found).at("all") if ablate else Recipe()
    return made if add is None else made + Add(found, add).at(found.site)
