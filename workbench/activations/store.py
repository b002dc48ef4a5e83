"""A content-addressed store of captured chunks.

The key of a chunk is the digest of everything that decides its values: weights, dtype, device, token ids,
sites and positions. So a capture that was killed goes on where it was, a repeated one reads from disk, and
nothing stale can be read. The store is bounded: the chunks that were used longest ago go first.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import CaptureError
from workbench.runs import cache_root, writing


@dataclass(frozen=True)
class ActivationStore:
    """Chunks on disk below `root`, at most `limit_bytes` of them."""

    root: Path
    limit_bytes: int = 4 << 30

    @classmethod
    def default(cls) -> "ActivationStore":
        """The store in the user's cache."""
        return cls(cache_root() / "activations")

    def path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether a whole chunk is there; a damaged one is removed."""
        path = self.path(key)
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt"):
                os.utime(path)
                return True
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return False

    def require_room(self, n_bytes: int) -> None:
        """Raise CaptureError where so much can never be held at once."""
        if n_bytes > self.limit_bytes:
            raise CaptureError(
                f"This capture needs {n_bytes / 1e9:.1f} GB and the store {self.root} holds at most "
                f"{self.limit_bytes / 1e9:.1f} GB; ask for fewer sites, positions or prompts."
            )

    def put(self, key: str, values: Float[Tensor, "example position site d_model"]) -> None:
        """Keep a chunk, making room for it first."""
        self._make_room(values.numel() * values.element_size())
        with writing(self.path(key)) as draft:
            save_file({"values": values.contiguous()}, draft)

    def read(self, key: str, position: int | slice = slice(None), site: int | slice = slice(None)) -> Tensor:
        """The values of a chunk, or the slice of it at one position and one site."""
        try:
            with safe_open(self.path(key), framework="pt") as file:
                chosen: Tensor = file.get_slice("values")[:, position, site]
                return chosen
        except (SafetensorError, OSError) as error:
            raise CaptureError("Captured activations were removed from the store meanwhile; capture again.") from error

    def _make_room(self, needed: int) -> None:
        sizes = self._sizes()
        excess = sum(size for _, size in sizes.values()) + needed - self.limit_bytes
        if excess <= 0:
            return
        for path, (_, size) in sorted(sizes.items(), key=lambda item: item[1]):
            path.unlink(missing_ok=True)
            excess -= size
            if excess <= 0:
                return

    def _sizes(self) -> Mapping[Path, tuple[int, int]]:
        """When each chunk was last used, and its bytes; another process may remove some meanwhile."""
        found = {}
        for path in self.root.glob("*/*.safetensors"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found[path] = (stat.st_mtime_ns, stat.st_size)
        return found
