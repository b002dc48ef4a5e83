"""A fresh process that opens an export by plain transformers, and hands its logits over.

What it runs is `reloading`, as a script: not one module of the workbench is loaded there. It comes to its end before
this process goes on: two models that compute at once on a few cores wait for each other most of the time. The logits
are files in a scratch folder, each gone once it is read.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from workbench.errors import ModelError
from workbench.models import Subject
from workbench.runs import track, write_json
from workbench.weights.certificates.rows import Row

_SCRIPT = Path(__file__).with_name("reloading.py")


@dataclass(frozen=True)
class Reloaded:
    """What an export said when it was read again: by whom, and the logits of each row, once."""

    by: str
    versions: Mapping[str, str]
    logits: Iterator[Tensor]


def reloaded(
    subject: Subject, rows: Sequence[Row], scratch: Path, *, model: Path, adapter: Path | None = None
) -> Reloaded:
    """Open a folder, and an adapter on it, as `subject` is opened: in its dtype, on its device.

    Raises ModelError where it cannot be opened.
    """
    request = {
        "model": str(model), "adapter": str(adapter or ""), "dtype": str(subject.dtype).removeprefix("torch."),
        "device": str(subject.device), "rows": [asdict(row) for row in rows], "out": str(scratch),
    }  # fmt: skip
    write_json(scratch / "request.json", request)
    by = "peft" if adapter else "transformers"
    said = _said(scratch, by, len(rows))
    files = (scratch / f"{number}.safetensors" for number in range(len(rows)))
    return Reloaded(by, said[0]["versions"], (_taken(file) for file in files))


def _said(scratch: Path, by: str, count: int) -> list[dict[str, Any]]:
    """Run the process to its end; returns what it said, the versions and a line for each row."""
    command = [sys.executable, "-P", str(_SCRIPT), str(scratch / "request.json")]
    # Threads that spin while they wait take the cores from one another where others compute too.
    quiet = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | {"HF_HUB_OFFLINE": "1"}
    with (scratch / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=quiet)
    try:
        assert process.stdout is not None
        said = list(track(_lines(process.stdout), f"Reading it again with {by}", count + 1))
        process.wait()
    finally:
        process.kill()
        process.communicate()
    if process.returncode != 0 or len(said) != count + 1:
        lines = (scratch / "errors.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = lines[-1][:300] if lines else f"the process ended with status {process.returncode}"
        raise ModelError(f"What was written cannot be opened by plain {by}: {reason}. Nothing was kept.")
    return said


def _lines(stdout: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What the process says, a JSON line each; what libraries print is passed over."""
    for line in stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield said


def _taken(file: Path) -> Tensor:
    found = load_file(file)["logits"]
    file.unlink()
    return found
