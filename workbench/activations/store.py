"""A content-addressed store of captured chunks.

The key of a chunk is the digest of everything that decides its values: weights, dtype, device, token ids,
sites and positions. So a capture that was killed goes on where it was, a repeated one reads from disk, and
nothing stale can be read. The store is bounded: the chunks that were used longest ago go first.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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

    def put(self, key: str, values: Float[Tensor, "example position site d_model"]) -> None:
        """Keep a chunk, making room for it first."""
        self._make_room(values.numel() * values.element_size())
        with writing(self.path(key)) as draft:
            save_file({"values": values.contiguous()}, draft)

    def read(self, key: str, position: int | slice = slice(None), site: int | slice = slice(None)) -> Tensor:
        """The values of a chunk, or the slice of it at one position and one site."""
        with safe_open(self.path(key), framework="pt") as file:
            chosen: Tensor = file.get_slice("values")[:, position, site]
        return chosen

    def _make_room(self, needed: int) -> None:
        sizes = self._sizes()
        excess = sum(sizes.values()) + needed - self.limit_bytes
        if excess <= 0:
            return
        for path in sorted(sizes, key=lambda p: p.stat().st_mtime):
            path.unlink(missing_ok=True)
            excess -= sizes[path]
            if excess <= 0:
                return

    def _sizes(self) -> Mapping[Path, int]:
        return {path: path.stat().st_size for path in self.root.glob("*/*.safetensors")}
