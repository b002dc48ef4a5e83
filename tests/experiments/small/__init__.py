"""Each experiment at its smallest: a module each, whose `settings` makes what it needs and says what to change."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Bench:
    """What an experiment at its smallest is made from: folders of tiny models by architecture, and a scratch folder."""

    folders: Mapping[str, Path]
    scratch: Path
    patch: pytest.MonkeyPatch

    @property
    def model(self) -> str:
        return str(self.folders["llama"])


def settings(name: str, bench: Bench) -> dict[str, Any]:
    """What is changed in an experiment's settings."""
    found: dict[str, Any] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").settings(bench)
    return found
