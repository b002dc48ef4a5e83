"""Fingerprints: what makes two runs the same run.

Everything that decides a result is folded into a SHA-256: text as canonical JSON, tensors as dtype, shape and
bytes, files as their content. Hashing gigabytes of weights takes seconds, so the digest of a file is
remembered under its path, size and modification time.
"""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_PACKAGES = ("alignment-workbench", "torch", "transformers", "transformer-lens", "numpy", "scikit-learn")


def digest_json(value: Any) -> str:
    """The SHA-256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_tensors(tensors: "dict[str, Tensor]") -> str:
    """The SHA-256 over names, dtypes, shapes and bytes of tensors."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """`digest_file`, looked up while the file's size and modification time stand: for gigabytes of weights."""
    from workbench.runs.files import cache_root, read_json, write_json

    stat = path.stat()
    key = digest_json([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    memory = cache_root() / "digests" / f"{key[:32]}.json"
    if memory.exists():
        return str(read_json(memory)["sha256"])
    found = digest_file(path)
    write_json(memory, {"sha256": found, "file": str(path)})
    return found


def versions() -> dict[str, str]:
    """The versions of Python, the platform and the packages that decide numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
