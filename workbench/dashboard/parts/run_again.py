"""The command that makes a run again, from its manifest.

A manifest keeps settings and digests, not what was typed. Options come back from the settings; of prompts, recipes and
directions a manifest knows the digest alone, so a name in capitals stands where a file has to be given.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.runs.manifest import RunManifest

_MEASURING = ("max_new_tokens", "batch_size", "seed")
_DRAWING = ("n_train", "n_val", "batch_size", "seed")
# The settings that are options of the same name; all of them are of the commands that `workbench` has.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "card": ("batch_size", "seed"),
    "concepts train": ("site", "discovered", "epochs", "seed"),
    "cone": ("dimension", *_DRAWING),
    "demo": (),
    "dose": ("control", "doses", "goal", "works", "kl_limit", "broken_limit", *_MEASURING),
    "evaluate": ("suite", *_MEASURING),
    "find": ("positions", "layers", "method", "strategy", *_DRAWING),
    "judge": (),
    "minimise": ("budget", "margin", "steps", "trials", *_DRAWING),
    "sweep": ("suite", *_MEASURING),
}
RENAMED = {"strategy": "search", "trials": "second-opinion"}
FLAGS = {"filtered": "--no-filter", "learn_directions": "--fixed-directions", "controls": "--no-controls"}  # of False
GIVEN = {"card": "--direction DIRECTION", "dose": "--recipe RECIPE --direction NAME=DIRECTION"}
_SAMPLED = ("dose", "evaluate", "sweep")  # ask --n prompts of each set
_OWN_DTYPE = ("demo", "judge")  # have no --dtype
_UNSAID = ("post_instruction", None)  # what an option is where it is left out


def command_of(run: RunManifest, path: Path) -> str:
    """The command, into a folder of its own: the same folder would hand the finished run back. Empty where no command
    makes such a run."""
    if run.command not in OPTIONS:
        return ""
    parts = [f"workbench {run.command} {_of_model(run)}", *_settings(run), *_given(run, path)]
    if "dtype" in run.model and run.command not in _OWN_DTYPE:
        parts.append(f"--dtype {shlex.quote(run.model['dtype'])}")
    return " \\\n  ".join([*parts, f"--out {shlex.quote(f'{path}-again')}"])


def python_of(path: Path) -> str:
    """What opens the run, and its scores."""
    return (
        f"from pathlib import Path\n\nfrom workbench.runs import RunFolder\n\nrun = RunFolder.open(Path({str(path)!r}))"
        "\nfor score in run.manifest.scores:\n    print(score.name, score)"
    )


def _of_model(run: RunManifest) -> str:
    names = [each for each in run.model if each != "name"] if run.command == "sweep" else [run.model.get("name", "")]
    if run.command == "judge":
        return f"{shlex.quote(names[0])}.json"
    return " ".join(f"--model {shlex.quote(name)}" if run.command == "sweep" else shlex.quote(name) for name in names)


def _settings(run: RunManifest) -> list[str]:
    options = [(name, run.settings[name]) for name in OPTIONS[run.command] if run.settings.get(name) not in _UNSAID]
    found = [f"--{RENAMED.get(name, name).replace('_', '-')}={_written(value)}" for name, value in options]
    found += [flag for name, flag in FLAGS.items() if run.settings.get(name) is False and _knows(run.command, name)]
    judge = run.settings.get("judge")
    if run.command in ("evaluate", "judge", "sweep") and isinstance(judge, Mapping) and "name" in judge:
        found.append(f"--judge={_written(judge['name'])}")
    return found


def _knows(command: str, flag: str) -> bool:
    """Whether a command has the flag that a setting of this name is the opposite of."""
    known = {"filtered": ("find", "cone"), "learn_directions": ("minimise",), "controls": ("dose",)}
    return command in known[flag]


def _given(run: RunManifest, path: Path) -> list[str]:
    """Recipe, direction and number of prompts."""
    found = [GIVEN[run.command]] if run.command in GIVEN else []
    if run.command == "evaluate":
        found.append(f"--recipe {shlex.quote(str(path / 'recipe.json'))}")
    if run.command == "sweep":
        found += _grid(run.settings.get("grid"))
    asked = [score.n for score in run.scores if score.name.endswith("harmful/refusal")]
    return [*found, f"--n={asked[0]}"] if asked and run.command in _SAMPLED else found


def _grid(grid: Any) -> list[str]:
    if not isinstance(grid, Mapping):
        return []
    named = {"recipe": "recipe", "layers": "layer", "strengths": "strength"}
    return [f"--{option}={_written(grid[name])}" for name, option in named.items() if grid.get(name)]


def _written(value: Any) -> str:
    text = ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in _listed(value))
    return shlex.quote(text)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
