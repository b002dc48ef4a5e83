"""One concept of a bottleneck, as an edit holds it: how it is read, and what it writes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import Active, scale_of, top_logits
from workbench.directions.asset import About, assets, read_asset, require_fit, write_asset
from workbench.errors import ConceptError, DirectionError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors

if TYPE_CHECKING:
    from workbench.models import Subject

KIND = "concept"


class _About(About):
    name: str
    own: int
    k: int | None
    bounded: bool
    typical: float
    level: float


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class ConceptHandle:
    """How active a concept is, and the vector it writes, both of a stream that was divided by its scale.

    `encoder` and `bias` hold its own row alone, or those of all concepts where only the `k` largest are active. An
    activation is `bounded` by 1 where a sigmoid follows (known concepts); `typical` is its natural unit.
    """

    name: str
    encoder: Float[Tensor, "n d_model"]
    bias: Float[Tensor, " n"]
    own: int
    k: int | None
    bounded: bool
    writes: Float[Tensor, " d_model"]
    typical: float
    level: float
    site: Site
    model_name: str
    model_digest: str
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        whole = all(bool(torch.isfinite(tensor).all()) for tensor in self._tensors.values())
        n, width = self.encoder.shape if self.encoder.ndim == 2 else (0, 0)
        fits = self.bias.shape == (n,) and self.writes.shape == (width,)
        if not (whole and fits and 0 <= self.own < n and (self.k is None or 1 <= self.k <= n)):
            raise ConceptError(f"The tensors of {self.name} at {self.site} do not fit together; make it again.")

    def __repr__(self) -> str:
        return f"ConceptHandle({self.name} at {self.site} of {self.model_name})"

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How active it is, in a stream that was divided by its scale."""
        top = top_logits(x.reshape(-1, self.width), self.encoder.to(x), self.bias.to(x), self.k or len(self.encoder))
        active = Active(top.values.sigmoid() if self.bounded else top.values.relu(), top.concepts)
        return active.of(self.own).reshape(x.shape[:-1])

    def coordinate(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How active it is in natural units: 0 where it is absent, 1 as in texts that show it."""
        wide = acts.float()
        return self(wide / scale_of(wide)) / self.typical

    @property
    def width(self) -> int:
        return int(self.writes.shape[0])

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {"encoder": self.encoder, "bias": self.bias, "writes": self.writes}

    @cached_property
    def digest(self) -> str:
        numbers = torch.tensor([self.own, self.k or 0, self.bounded, self.typical, self.level], dtype=torch.float64)
        return digest_tensors(self._tensors | {f"{self.site}|{self.model_digest}": numbers})

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where it is of another model or width."""
        require_fit("concept", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        names = ("name", "own", "k", "bounded", "typical", "level", "model_name", "model_digest")
        rest = {name: getattr(self, name) for name in names}
        return write_asset(path, KIND, _About(site=str(self.site), seen=sorted(self.seen), **rest), self._tensors)

    @classmethod
    def load(cls, path: Path) -> "ConceptHandle":
        """Read what `save` wrote."""
        about, held = read_asset(path, KIND, _About)
        rest: dict[str, Any] = held | about.model_dump(exclude={"site", "seen"})
        try:
            return cls(**rest, site=Site.parse(about.site), seen=frozenset(about.seen))
        except (TypeError, UsageError) as error:
            raise DirectionError(f"{path} is not a concept file, or is damaged ({error}); make it again.") from error
