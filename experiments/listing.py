"""Which experiments there are: what their TOML files say. Nothing else is read, so that a list comes at once."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import UsageError, first_fault

HERE = Path(__file__).parent


class About(BaseModel):
    """What the TOML file of an experiment says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    source: str
    takes: str
    needs: dict[str, str] = {}  # settings without a default, and what they are
    settings: dict[str, Any]


def experiments() -> dict[str, About]:
    """Every experiment by name."""
    return {path.stem.replace("_", "-"): about(path) for path in sorted(HERE.glob("*.toml"))}


def about(path: Path) -> About:
    """An experiment's file. Raises UsageError where it cannot be read, or is another thing."""
    try:
        return About.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a TOML file such as an experiment's own.") from error
    except ValidationError as error:
        raise UsageError(f"{path} is no experiment's file ({first_fault(error)}).") from error
