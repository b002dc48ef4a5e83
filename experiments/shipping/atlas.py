"""The direction atlas: what a search found of every candidate, and how well a probe reads harm at the same places.

python -m experiments.ship atlas FIND-RUN [PROBE-SWEEP]

A candidate stands at a block's input, which is what the block before it put out: a sweep's `resid_post` of layer 17 is
the `resid_pre` of layer 18. Scores alone are kept; a search has no replies.
"""

from pathlib import Path
from typing import Any

from workbench.errors import RunError
from workbench.runs import RunFolder
from workbench.runs.files import read_json
from workbench.search.strategies.screened import FIRST


def distil(source: Path, sweep: Path | None = None) -> dict[str, Any]:
    """The search's table, its settings, and the sweep's AUROC where one of the same model is given."""
    run = RunFolder.open(source)
    found, manifest = run.results(), run.manifest
    search = {"screened_on": [min(FIRST, found["chosen"]["n"][score]) for score in ("refusal_score", "steering_score")]}
    return {
        "source": {
            "command": f"workbench {manifest.command} {manifest.model['name']}", "model": manifest.model["name"],
            "started": manifest.started, "versions": manifest.versions, "n": found["kept"],
        },
        "find": found | {"search": search | found["search"]},
        "settings": manifest.settings,
        "model": manifest.model,
        "data": manifest.data,
        "auroc": None if sweep is None else _auroc(sweep, manifest.model),
    }  # fmt: skip


def _auroc(sweep: Path, model: dict[str, str]) -> dict[str, Any]:
    read = read_json(sweep / "sweep.json" if sweep.is_dir() else sweep)
    if read["model"]["digest"] != model["digest"]:
        raise RunError(f"The sweep is of {read['model']['name']}, and the search of {model['name']}; give one of each.")
    kept = ("auroc", "low", "high", "n", "shuffled", "shuffled_low", "shuffled_high")
    rows = [
        {"position": row["position"], "layer": row["layer"] + 1} | {key: row[key] for key in kept}
        for row in read["rows"]
        if row["stream"] == "resid_post"
    ]
    command = f"workbench probe sweep {model['name']} --harmful SET --harmless SET"
    return {"command": command, "words": read["controls"]["words"], "reported": read["reported"], "rows": rows}
