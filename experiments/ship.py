"""Distil a finished run into what a page of the dashboard opens on, or into another file of data that a kind names.

python -m experiments.ship KIND RUN [MORE]        KIND is a file of experiments/shipping, RUN a run's folder
"""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.runs import write_text

DATA = Path(__file__).parent.parent / "workbench" / "dashboard" / "data"


def main(arguments: Sequence[str]) -> None:
    """Write one file of data: the dashboard's, or at the `PLACE` of the kind."""
    if len(arguments) not in (2, 3) or not arguments[0].isidentifier():
        raise UsageError("Give a kind and a run: python -m experiments.ship KIND RUN [MORE].")
    kind, *paths = arguments
    shipping = importlib.import_module(f"experiments.shipping.{kind}")
    found = shipping.distil(*map(Path, paths))
    found.get("source", {}).get("versions", {}).pop("platform", None)  # of no use to who reads it elsewhere
    write_text(getattr(shipping, "PLACE", DATA / f"{kind}.json"), compact(found))


def compact(found: Mapping[str, Any]) -> str:
    """JSON with a line for each key: a line for each number would be most of a file of maps or points."""
    parts = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
