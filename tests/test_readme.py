"""What README and guides say to type can be typed: every command and option exists, and the chain of them runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.hardware import needs_bfloat16
from workbench.cli.main import app
from workbench.prompts import builtin_pairs

ROOT = Path(__file__).parents[1]
TEXTS = (ROOT / "README.md", ROOT / "experiments" / "LOG.md", *sorted((ROOT / "docs" / "pages").rglob("*.md")))
MODEL = "qwen2.5-coder-0.5b-instruct"
# The tasks of README's table whose commands are run, in its order; the others take longer, and have tests of their own.
CHAIN = (
    "what works on this machine", "which models are at hand", "find and choose a direction", "talk under an edit",
    "several recipes in columns", "token by token, coloured by projection", "what the edit changes",
    "a probe, as a direction and a gate",
)  # fmt: skip


def written(text: str) -> list[str]:
    """Every command of the workbench in code of a text, joined where a backslash goes on."""
    spans = re.findall(r"`(workbench [^`]+)`", text)
    lines = re.findall(r"^ {4}(workbench (?:.*\\\n)*.*)$", text, re.MULTILINE)
    return [re.sub(r"\s*\\\n\s*", " ", each).split("  #")[0] for each in (*spans, *lines)]


def faults(command: str) -> list[str]:
    """Which words of a command are no command or option of the workbench."""
    try:
        words = shlex.split(command.replace("|", " | "))[1:]
    except ValueError:
        return [f"{command}: its quotes do not close"]
    at: Any = get_command(app)
    while words and words[0] in getattr(at, "commands", {}):
        at = at.commands[words.pop(0)]
    options = {name for each in at.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    if hasattr(at, "commands"):
        known = not words or words[0] in {"NAME", "..."} | options or "|" in words
        return [] if known else [f"{command}: there is no command {words[0]}"]
    given = [word.split("=")[0] for word in words if re.match(r"--[a-z]", word)]
    return [f"{command}: there is no option {option}" for option in given if option not in options]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_command_that_is_written_exists_with_its_options(path: Path) -> None:
    found = written(path.read_text(encoding="utf-8"))
    assert [fault for command in found for fault in faults(command)] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert written("Type `workbench find M --out R`, or\n\n    workbench dose M \\\n      --n 3  # slow\n") == [
        "workbench find M --out R", "workbench dose M --n 3",
    ]  # fmt: skip
    assert faults("workbench find M --harmfull SET") == [
        "workbench find M --harmfull SET: there is no option --harmfull"
    ]
    assert faults("workbench fnd M") == ["workbench fnd M: there is no command fnd"]
    assert faults("workbench probe sweep M --positions -1") == []


def rows() -> dict[str, str]:
    """README's table of commands, by task."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([^|]+) \| `(workbench [^`]+)`", text, re.MULTILINE))


@pytest.mark.real
def test_readmes_commands_run_as_written(tmp_path: Path) -> None:
    """With a model, two files of prompts and a folder in the place of the words in capitals."""
    pairs = builtin_pairs("train")
    sides = {"harmful": pairs.positive.sample(60), "harmless": pairs.negative.sample(30)}
    for name, side in sides.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(prompt.text for prompt in side))
    test = builtin_pairs("test")
    for name, side in (("harmful", test.positive), ("harmless", test.negative)):
        (tmp_path / f"test-{name}.txt").write_text("\n".join(prompt.text for prompt in side.sample(6)))
    table = rows()
    for task in CHAIN:
        files = "" if task.startswith("find") else "test-"
        command = table[task].replace("--harmful SET", f"--harmful {files}harmful.txt")
        command = command.replace("--harmless SET", f"--harmless {files}harmless.txt").replace("MODEL", MODEL)
        words = ["Name a river." if word == "..." else word for word in shlex.split(command)]
        done = subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()[-2000:]}"
        assert done.stdout


@needs_bfloat16
@pytest.mark.real
def test_readmes_python_runs_as_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "readme.py").write_text(block)
    done = subprocess.run([sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "treated" in done.stdout
