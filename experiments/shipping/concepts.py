"""Concepts: a trained bottleneck's figures, and what its commands say of some harmless prompts.

python -m experiments.ship concepts FOLDER

FOLDER holds `train`, a finished `workbench concepts train` run, and what three commands print with --json: of
`concepts explain` explain.json, of `concepts steer` steer.json and, with another concept, control.json, of
`concepts data` data.json, all of harmless prompts or of refused ones.
"""

from pathlib import Path
from typing import Any

from workbench.runs import RunFolder
from workbench.runs.files import read_json

DIGITS = 4
_KEPT = ("prompt", "tokens", "logits", "exact", "error", "shares", "concepts", "by_token")
_MEASURED = ("site", "texts", "tokens", "concepts", "typical", "scores")


def distil(source: Path) -> dict[str, Any]:
    """What the page shows."""
    run = RunFolder.open(source / "train")
    manifest, found = run.manifest, run.results()
    explanations = read_json(source / "explain.json")["explanations"]
    informed, steered, control = (read_json(source / f"{name}.json") for name in ("data", "steer", "control"))
    shown = {
        "bottleneck": {name: found[name] for name in _MEASURED},
        "explanations": [{name: each[name] for name in _KEPT} for each in explanations],
        "informed": informed | {"prompt": explanations[0]["prompt"]},
        "steered": steered,
        "control": control,
    }
    return {
        "source": {
            "command": f"workbench concepts train {manifest.model['name']}", "model": manifest.model["name"],
            "started": manifest.started, "versions": manifest.versions, "n": found["texts"],
        },
    } | _rounded(shown)  # fmt: skip


def _rounded(value: Any) -> Any:
    """The same with numbers of a few digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
