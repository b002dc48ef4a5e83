"""The doses of a recipe: the numbers of a `workbench dose` run, without its replies.

python -m experiments.ship dose RUN
"""

from pathlib import Path
from typing import Any

from workbench.runs import RunFolder

_MEASURES = ("refusal", "compliance", "broken", "kl")


def distil(source: Path) -> dict[str, Any]:
    """The window, every dose, and the scores that the page draws; prompts are numbered."""
    run = RunFolder.open(source)
    manifest, recorded = run.manifest, run.results()
    said = manifest.settings
    found = {name: value for name, value in recorded.items() if name != "evaluation"}
    evaluation = recorded["evaluation"]
    kept = [score for score in evaluation["scores"] if score["name"].rsplit("/", 1)[1] in _MEASURES]
    name, doses = manifest.model["name"], ",".join(f"{dose:g}" for dose in said["doses"])
    edit = "--add 1" if recorded["recipe"].startswith("add") else "--ablate"
    return {
        "source": {
            "command": f"workbench dose {name} --direction refusal=RUN {edit} --doses {doses} --goal {said['goal']}",
            "model": name, "started": manifest.started, "versions": manifest.versions,
            "n": dict.fromkeys(manifest.data, recorded["baseline"]["n"]),
        },
        **found,
        "own_doses": {str(number): dose for number, dose in enumerate(found["own_doses"].values())},
        "recipe": recorded["recipe"],
        "evaluation": {"judge": evaluation["judge"], "scores": kept},
    }  # fmt: skip
