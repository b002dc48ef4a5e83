"""One built-in prompt that the embedded model refuses, under the microscope: the prompt alone, and no reply.

`source` is a find run: its model reads the prompt along its direction, as it is and with the direction ablated.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probes.microscope.looking import look
from workbench.directions import Direction
from workbench.errors import RunError
from workbench.evaluation.judges.phrase import refuses
from workbench.evaluation.refusal import refusal_tokens
from workbench.generation import generate
from workbench.interventions import parse_recipe
from workbench.models import open_model
from workbench.prompts import Prompts, builtin_prompts
from workbench.runs import RunFolder, versions

_RECIPE = "ablate(refusal) @ all"
_TOKENS, _REPLY, _LOOKED_AT = 16, 24, 8


def distil(source: Path) -> dict[str, Any]:
    """The first short prompt of the validation part, none of which the direction was found with, that is refused."""
    folder = RunFolder.open(source)
    direction = Direction.load(source)
    subject = open_model(folder.manifest.model["name"])
    held = builtin_prompts("harmful", "val").without(direction.seen)
    short = sorted(held, key=lambda prompt: len(prompt.text))[:_LOOKED_AT]
    replies = generate(subject, Prompts(tuple(short), "short ones"), max_new_tokens=_REPLY)
    refused = [reply.prompt for reply in replies if refuses(reply.text)]
    if not refused:
        raise RunError(f"{subject.name} refuses none of {len(short)} prompts, so there is nothing to look at.")
    followed = refusal_tokens(subject, builtin_prompts("harmful", "train")).ids
    recipe = parse_recipe(_RECIPE, lambda name: direction)
    seen = look(subject, refused[0], direction, followed, recipe=recipe, written=_RECIPE, last=_TOKENS)
    about = {
        "command": f"python -m experiments.ship microscope {source.name}", "model": subject.name, "n": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions(),
    }  # fmt: skip
    return {"source": about, "seen": seen.model_dump(mode="json")}
