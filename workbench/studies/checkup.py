"""Is this machine ready? Each check says what was found and, where it fails, the one line that mends it."""

import importlib
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workbench.models.catalog import catalog
from workbench.runs import cache_root, runs_root

_NEEDED = ("torch", "transformers", "transformer-lens", "safetensors", "gguf", "scikit-learn", "streamlit")
_ROOM = 4e9


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
    return [_python(), *packages, _processor(), _memory(), *places, _room(), *_models(), _hub()]


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("Python", ok, platform.python_version(), "install Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, True, version(name), "")
    except PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}  (or: make install)")


def _processor() -> Check:
    try:
        torch = importlib.import_module("torch")
        loading = importlib.import_module("workbench.models.loading")
    except ImportError as error:
        return Check("processor", False, f"torch does not load ({error})", "pip install torch==2.13.0")
    device = loading.default_device()
    dtype = str(loading.default_dtype(device)).removeprefix("torch.")
    return Check("processor", True, f"{device}, {torch.get_num_threads()} threads, {dtype}", "")


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
