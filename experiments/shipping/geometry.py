"""The geometry of the built-in prompts: what `workbench geometry --out` wrote, without its figures.

Prompts that are not built in are not shipped: it raises RunError.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.prompts import builtin_prompts
from workbench.runs import read_json, versions

_FILE = "geometry.json"
_KEPT = ("value", "low", "high", "shuffled", "shuffled_low", "shuffled_high")


def distil(source: Path) -> dict[str, Any]:
    """`source` is the folder that the command wrote."""
    found = read_json(source / _FILE)
    texts = set(found["planes"]["texts"])
    parts = [part for part in ("train", "val") if texts <= _known(part)]
    if not parts:
        raise RunError(f"{source} is of prompts that are not built in, or of a locked part; these do not ship.")
    sets = f"--harmful harmful:{parts[0]} --harmless harmless:{parts[0]}"
    how = f"--n {max(found['n'])} --position {found['position']} --plane {found['planes']['method']}"
    name, written = found["model"]["name"], (source / _FILE).stat().st_mtime
    direction = " --direction refusal.safetensors" if found["tokens"] else ""
    about = {
        "command": f"workbench geometry {name} {sets} {how}{direction} --out geometry", "model": name,
        "n": found["n"], "started": datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds"),
        "versions": versions(), "part": parts[0],
    }  # fmt: skip
    kept = {key: found[key] for key in ("model", "position", "n", "planes", "tokens")}
    return {"source": about, **kept, "rows": [_short(row) for row in found["rows"]]}


def _known(part: str) -> set[str]:
    return {prompt.text for name in ("harmful", "harmless") for prompt in builtin_prompts(name, part)}


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Six digits of each number."""
    return row | {key: None if row[key] is None else float(f"{row[key]:.6g}") for key in _KEPT}
