"""How sure the shipped direction is: the identifiability card of a real run. It holds scores, and no prompt or reply.

python -m experiments.ship card CARD-RUN
"""

from pathlib import Path
from typing import Any

from workbench.runs import RunFolder


def distil(source: Path) -> dict[str, Any]:
    """The card, and the digest of the direction that it is of."""
    run = RunFolder.open(source)
    manifest, card = run.manifest, run.results()
    return {
        "source": {
            "command": f"workbench card {manifest.model['name']} --direction RUN", "model": manifest.model["name"],
            "n": card["n"], "started": manifest.started, "versions": manifest.versions,
        },
        "direction": manifest.settings["direction"],
        "card": card,
    }  # fmt: skip
