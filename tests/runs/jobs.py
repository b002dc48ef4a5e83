"""Task functions for the tests: any worker process can import them."""

import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from workbench.errors import RunError


def square(payload: dict[str, Any]) -> dict[str, Any]:
    """Square a number, leaving a trace of having run; a negative one fails, and 13 is a mistake."""
    if "folder" in payload:
        _mark(payload)
    if payload["n"] < 0:
        raise RunError(f"{payload['n']} is negative; give a number from 0.")
    if payload["n"] == 13:
        raise ZeroDivisionError("a mistake")
    return {"square": payload["n"] ** 2}


def die(payload: dict[str, Any]) -> dict[str, Any]:
    """Kill the own process at the first `deaths` tries."""
    if _mark(payload) <= payload.get("deaths", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(payload.get("seconds", 0.05))
    return {"n": payload["n"]}


_HELD: list[bytes] = []


def grow(payload: dict[str, Any]) -> dict[str, Any]:
    """Hold more and more memory, in a worker that loky looks after closely and replaces for it."""
    from joblib.externals.loky import process_executor

    process_executor._MEMORY_LEAK_CHECK_DELAY = 0.0
    process_executor._MAX_MEMORY_LEAK_SIZE = 10**6
    _HELD.append(os.urandom(20 * 2**20))
    return {"n": payload["n"], "process": os.getpid()}


def numbers(payload: dict[str, Any]) -> dict[str, Any]:
    """Floats whose every bit counts, and all the shapes that JSON has."""
    import torch

    drawn = torch.randn(64, 64, generator=torch.Generator().manual_seed(payload["n"]))
    return {
        "floats": torch.softmax(drawn @ drawn, -1).sum(0).tolist(),
        "tuple": (1, None, True),
        "text": "ä\u2028",
        "by number": {1: float("inf")},
        "payload": payload,
    }


def threads(payload: dict[str, Any]) -> dict[str, Any]:
    """How many threads this process may use."""
    return {"threads": os.environ.get("OMP_NUM_THREADS")}


def linger(payload: dict[str, Any]) -> dict[str, Any]:
    """Take a while on a Ray node, leaving a trace of having run and of where."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    _mark(payload)
    (Path(payload["folder"]) / node).touch()
    time.sleep(payload["seconds"])
    return {"node": node}


def measure_or_die(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one condition of a sweep; its worker dies between two sets: with direction b once, with c always."""
    from workbench.evaluation import measuring
    from workbench.studies.sweep.condition import measure_one

    deaths = {"add(b": 1, "add(c": 9}.get(payload["name"][:5], 0)
    folders = [Path(path).parent for path in payload["directions"].values()]
    dies = bool(folders) and _mark({"n": payload["name"], "folder": folders[0]}) <= deaths
    generate, asked = measuring.generate, 0

    def generate_once(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if dies and asked == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return generate(*arguments, **options)

    with patch.object(measuring, "generate", generate_once):
        return measure_one(payload)


def _mark(payload: dict[str, Any]) -> int:
    """Count one more try of this task, and return how many there were."""
    tries = Path(payload["folder"]) / f"{payload['n']}.tries"
    with tries.open("a") as file:
        file.write("x")
    return tries.stat().st_size
