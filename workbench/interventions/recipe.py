"""A recipe: placements in order. It is a value, travels with a request, and never rests on a model.

On disk it is JSON, with each direction, stored activation and feature beside it as safetensors, named by its digest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.directions import Asset, Direction, load_asset
from workbench.errors import RecipeError
from workbench.interventions import forms
from workbench.interventions.placement import Placement
from workbench.interventions.tuning import Tuned
from workbench.interventions.writing import by_digest, written
from workbench.models import Subject
from workbench.runs import digest_json, read_json, write_json


@dataclass(frozen=True)
class Recipe:
    """Edits to apply, in order. The empty recipe is the model as it is.

    `tuned` says what it was chosen by, where a study chose it.
    """

    placements: tuple[Placement, ...] = ()
    tuned: Tuned | None = None

    def __add__(self, other: "Recipe") -> "Recipe":
        both = self._with(self.placements + other.placements)
        return both if other.tuned is None else both.tuned_by(other.tuned.of_another())

    def __len__(self) -> int:
        return len(self.placements)

    def __str__(self) -> str:
        return self.written()

    def written(self, name: Callable[[Asset], str] = by_digest) -> str:
        """The written form, which `parse_recipe` reads, with `name` for each asset."""
        return " + ".join(written(placement, name) for placement in self.placements) or "nothing"

    @property
    def assets(self) -> tuple[Asset, ...]:
        """Everything that its edits and gates hold, once."""
        held = [asset for placement in self.placements for asset in placement.assets]
        return tuple({asset.digest: asset for asset in held}.values())

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every direction in it, once."""
        return tuple(asset for asset in self.assets if isinstance(asset, Direction))

    @property
    def seen(self) -> frozenset[str]:
        """The digests of the prompts that anything in it was made from, and of those that it was chosen by."""
        made_from = frozenset(digest for asset in self.assets for digest in asset.seen)
        return made_from if self.tuned is None else made_from.union(self.tuned.prompts)

    def tuned_by(self, tuned: Tuned) -> "Recipe":
        """The recipe, chosen by `tuned`, and by the prompts of whatever chose it before."""
        before = frozenset() if self.tuned is None else frozenset(self.tuned.prompts)
        return replace(self, tuned=tuned.with_prompts(before))

    def mapped(self, change: Callable[[Placement], Placement]) -> "Recipe":
        """The recipe with every placement replaced by `change(placement)`."""
        return self._with(tuple(change(placement) for placement in self.placements))

    def turned(self, control: str, value: float) -> "Recipe":
        """The recipe with `control` of every edit that has it - its `strength`, say - set to `value`.

        Raises RecipeError where no edit has such a control.
        """
        named = [any(f.name == control for f in placement.edit.controls()) for placement in self.placements]
        if not any(named):
            known = sorted({field.name for placement in self.placements for field in placement.edit.controls()})
            raise RecipeError(f"{self} has no control {control!r}; it has: {', '.join(known) or 'none'}.")
        turn = zip(self.placements, named, strict=True)
        return self._with(tuple(replace(p, edit=replace(p.edit, **{control: value})) if has else p for p, has in turn))

    def on_prompt(self) -> "Recipe":
        """What of it may change what the model makes of the prompt: where that is the same, the prompt is read once."""
        return self._with(tuple(placement for placement in self.placements if placement.acts_on_prompt))

    def _with(self, placements: tuple[Placement, ...]) -> "Recipe":
        """Another recipe, made from this one."""
        return Recipe(placements, self.tuned and self.tuned.of_another())

    def check_fits(self, subject: Subject) -> None:
        """Raise RecipeError or DirectionError where it cannot be applied to `subject`."""
        for placement in self.placements:
            placement.check_fits(subject)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that refers to assets by digest."""
        return forms.to_json(self.placements, self.tuned)

    @property
    def digest(self) -> str:
        return digest_json(self.to_json())

    @classmethod
    def from_json(cls, value: Any, assets: Callable[[str], Asset]) -> "Recipe":
        """Rebuild from `to_json`; `assets` finds an asset by its digest."""
        return cls(*forms.from_json(value, assets))

    def save(self, path: Path) -> Path:
        """Write the JSON, and the assets beside it."""
        for asset in self.assets:
            asset.save(_beside(path, asset.digest))
        write_json(path, self.to_json())
        return path

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Read what `save` wrote."""
        return cls.from_json(read_json(path), lambda digest: _load(path, digest))


def _load(path: Path, digest: str) -> Asset:
    found = load_asset(_beside(path, digest))
    if found.digest != digest:
        raise RecipeError(f"{_beside(path, digest)} is not the direction that {path} was written with.")
    return found


def _beside(path: Path, digest: str) -> Path:
    if not (digest.isalnum() and len(digest) == 64):
        raise RecipeError(f"{path} refers to a direction by {digest!r}, which is not a digest.")
    return path.parent / f"{digest[:16]}.safetensors"
