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
    str | None,
    typer.Option("--recipe", help="A recipe: a file, an evaluation's or dose's run, or 'ablate(NAME) @ all'."),
]
Texts = Annotated[list[str] | None, typer.Option("--recipe", help="The same; may be repeated with --compare.")]
Directions = Annotated[
    list[str] | None,
    typer.Option("--direction", help="A find run or a direction file; NAME=FILE names it for --recipe."),
]
Ablated = Annotated[bool, typer.Option("--ablate", help="Ablate the direction everywhere.")]
Added = Annotated[float | None, typer.Option("--add", help="Add the direction at its layer, this many class gaps.")]

NAMED = re.compile(r"([\w.-]+)=(.+)", re.ASCII)


def exists(text: str) -> bool:
    """Whether a text names something on disk; what is too long or too odd for a path does not."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def load_folder(path: Path) -> "Asset":
    """What a file holds, or the folder of a find run or of a probe."""
    from workbench.directions import load_asset

    probe = path / "probe.safetensors"
    return load_asset(probe if probe.is_file() else path)


def edited_by(asset: "Asset") -> "Asset":
    """What edits, gates and ledgers hold of an asset: of a probe its direction."""
    made = getattr(asset, "direction", None)
    found: Asset = made() if callable(made) else asset
    return found


@dataclass
class Names:
    """The directions, activations and features that the options name, and files that recipes name themselves."""

    held: "dict[str, Asset]" = field(default_factory=dict)

    @classmethod
    def of(cls, given: Sequence[str] | None) -> "Names":
        """From NAME=FILE or FILE, whose name is then the file's own."""
        from workbench.errors import UsageError

        names = cls()
        for text in given or []:
            named = None if exists(text) else NAMED.fullmatch(text)
            path = Path(named[2] if named else text)
            name = named[1] if named else path.stem
            if name in names.held:
                raise UsageError(f"Two directions are called {name}; name them with --direction NAME={path}.")
            names.held[name] = edited_by(load_folder(path))
        return names

    def find(self, name: str) -> "Asset":
        """What a name in a recipe stands for: one that was given, or a file."""
        from workbench.errors import UsageError

        if name not in self.held:
            if not exists(name):
                known = ", ".join(self.held) or "none was given"
                raise UsageError(
                    f"There is no direction called {name!r} (there are: {known}), and no such file; give "
                    f"--direction {name}=RUN-OR-FILE."
                )
            self.held[name] = edited_by(load_folder(Path(name)))
        return self.held[name]

    def write(self, asset: "Asset") -> str:
        """The name of an asset, as a recipe writes it."""
        from workbench.interventions.writing import by_digest

        name = next((name for name, held in self.held.items() if held.digest == asset.digest), by_digest(asset))
        if '"' in name:
            return by_digest(asset)
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
        if exists(text):
            return Recipe.load(Path(text) / "recipe.json" if Path(text).is_dir() else Path(text))
        return Recipe.load(Path(text)) if text.endswith(".json") else parse_recipe(text, names.find)
    if not names.held:
        if ablate or add is not None:
            raise RecipeError("--ablate and --add need --direction RUN-OR-FILE; `workbench find` makes one.")
        return Recipe()
    if not ablate and add is None:
        raise RecipeError("Say what to do with the direction: --ablate, --add STRENGTH, or a --recipe.")
    found = names.only()
    made = Ablate(found).at("all") if ablate else Recipe()
    return made if add is None else made + Add(found, add).at(found.site)
