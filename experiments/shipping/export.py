"""Export: the certificate of a real export, and what its folder held. No weights ship.

python -m experiments.ship export FOLDER
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.runs import versions
from workbench.runs.files import read_json

CERTIFICATE = "certificate.json"


def distil(source: Path) -> dict[str, Any]:
    """The certificate without the place that the model was read from, and the names and sizes of the files."""
    found: dict[str, Any] = read_json(source / CERTIFICATE)
    model = {key: value for key, value in found["model"].items() if key != "origin"}
    command = f"workbench export {model['name']} --direction RUN --ablate --format {found['format']} --out NEW"
    made = datetime.fromtimestamp((source / CERTIFICATE).stat().st_mtime, UTC)
    return {
        "source": {
            "command": command, "model": model["name"], "n": found["prompts"]["n"],
            "started": made.isoformat(timespec="seconds"),
            "versions": versions() | found["versions"],
        },
        "certificate": found | {"model": model},
        "files": [
            {"name": file.relative_to(source).as_posix(), "bytes": file.stat().st_size}
            for file in sorted(source.rglob("*"))
            if file.is_file()
        ],
    }  # fmt: skip
