"""Is this machine ready? Each check says what was found and, where it fails, the one line that mends it."""

import importlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from workbench.models.catalog import catalog
from workbench.runs import cache_root, runs_root

_NEEDED = ("torch", "transformers", "transformer-lens", "safetensors", "gguf", "scikit-learn", "streamlit")
_ROOM = 4e9
_NO_BFLOAT16 = " (no bfloat16 in hardware: slower)"
DISTRIBUTION, PORT = "alignment-workbench", 8501


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    remedy: str
    optional: bool = False

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def checkup() -> list[Check]:
    """All checks, in the order in which they matter."""
    packages = [_package(name) for name in _NEEDED]
    places = [_writable("cache", cache_root(), "WORKBENCH_CACHE"), _writable("runs", runs_root(), "WORKBENCH_RUNS")]
    machine = [_processor(), _threads(), _memory(), *places, _room()]
    return [_python(), _versions(), *packages, *machine, *_models(), _hub(), _port(), _letters()]


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("Python", ok, platform.python_version(), "install Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, True, version(name), "")
    except PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}  (or: make install)")


def _versions() -> Check:
    """Whether what is installed is what this package asks for: pip lets another install change it."""
    try:
        asked = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return Check("versions", True, "not known: the packages lie beside, and are not installed", "", optional=True)
    wrong = [f"{name} {held} (asked for: {rule})" for name, held, rule in _unlike(asked)]
    return Check("versions", not wrong, "; ".join(wrong) or "as asked for", f"pip install --upgrade {DISTRIBUTION}")


def _unlike(asked: Iterable[Requirement]) -> Iterator[tuple[str, str, str]]:
    """Packages that are installed in a version that is not asked for."""
    for each in asked:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            held = version(each.name)
        except PackageNotFoundError:
            continue
        if not each.specifier.contains(held, prereleases=True):
            yield each.name, held, str(each.specifier)


def _processor() -> Check:
    try:
        torch = importlib.import_module("torch")
        loading = importlib.import_module("workbench.models.loading")
    except ImportError as error:
        return Check("processor", False, f"torch does not load ({error})", "pip install torch==2.13.0")
    device = loading.default_device()
    dtype = str(loading.default_dtype(device)).removeprefix("torch.")
    slow = device.type == "cpu" and not loading.has_bfloat16()
    found = f"{device}, {torch.get_num_threads()} threads, {dtype}" + (_NO_BFLOAT16 if slow else "")
    return Check("processor", True, found, "")


def _threads() -> Check:
    """A variable that somebody set once leaves cores idle."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_to = os.environ.get("OMP_NUM_THREADS", "")
    fine = not set_to.isdigit() or int(set_to) >= cores
    found = f"{cores} cores" + (f", OMP_NUM_THREADS={set_to}" if set_to else "")
    return Check("threads", fine, found, "unset OMP_NUM_THREADS, so that all cores are used", optional=True)


def _memory() -> Check:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return Check("memory", True, "unknown", "", optional=True)
    return Check("memory", free > _ROOM, f"{free / 1e9:.1f} GB free", "close other programs", optional=True)


def _writable(name: str, path: Path, variable: str) -> Check:
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return Check(f"{name} folder", os.access(nearest, os.W_OK), str(path), f"set {variable} to a folder of yours")


def _room() -> Check:
    nearest = next(place for place in (cache_root(), *cache_root().parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    return Check("disk", free > _ROOM, f"{free / 1e9:.1f} GB free", "free 4 GB, or set WORKBENCH_CACHE elsewhere")


def _models() -> list[Check]:
    return [
        Check(entry.name, entry.at_hand, "at hand" if entry.at_hand else "not installed", entry.install, optional=True)
        for entry in catalog().values()
    ]


def _hub() -> Check:
    offline = os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE", "on", "ON")
    found = "off (HF_HUB_OFFLINE)" if offline else "may be asked"
    return Check("model hub", not offline, found, "unset HF_HUB_OFFLINE to download models", optional=True)


def _port() -> Check:
    """Whether the dashboard's usual port is free."""
    with socket.socket() as tried:
        tried.settimeout(0.5)
        taken = tried.connect_ex(("127.0.0.1", PORT)) == 0
    return Check(f"port {PORT}", not taken, "taken" if taken else "free", "workbench app --port 8502", optional=True)


def _letters() -> Check:
    """Whether the terminal can write what models say."""
    held = (sys.stdout.encoding or "unknown").lower()
    fine = held.replace("-", "") == "utf8"
    return Check("terminal", fine, held, "export PYTHONIOENCODING=utf-8", optional=True)
