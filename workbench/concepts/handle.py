"""One concept of a bottleneck, as an edit holds it: how it is read, and what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import ConceptReader, scale_of
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
    k: int
    bounded: bool
    typical: float
    level: float


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class ConceptHandle:
    """How active a concept is, and the vector it writes, both of a stream that was divided by its scale.

    `reader` reads all concepts, for only the largest are active, and `own` is this one's number among them; `typical`
    is its natural unit.
    """

    name: str
    reader: ConceptReader
    own: int
    writes: Float[Tensor, " d_model"]
    typical: float
    level: float
    site: Site
    model_name: str
    model_digest: str
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        whole = all(bool(torch.isfinite(tensor).all()) for tensor in self._tensors.values())
        reader = self.reader
        n, width = reader.encoder.shape if reader.encoder.ndim == 2 else (0, 0)
        fits = reader.bias.shape == (n,) and self.writes.shape == (width,)
        if not (whole and fits and 0 <= self.own < n and 1 <= reader.k <= n):
            raise ConceptError(f"The tensors of {self.name} at {self.site} do not fit together; make it again.")

    def __repr__(self) -> str:
        return f"ConceptHandle({self.name} at {self.site} of {self.model_name})"

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How active it is, in a stream that was divided by its scale."""
        return self.reader(x.reshape(-1, self.width)).of(self.own).reshape(x.shape[:-1])

    def coordinate(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How active it is in natural units: 0 where it is absent, 1 as in texts that show it."""
        (found,) = self.coordinates([self], acts)
        return found

    @classmethod
    def coordinates(
        cls, handles: "Sequence[ConceptHandle]", acts: Float[Tensor, "*batch d_model"]
    ) -> list[Float[Tensor, "*batch"]]:
        """Those of several concepts at one site; concepts of one reader are read together."""
        wide = acts.float()
        x = (wide / scale_of(wide)).reshape(-1, wide.shape[-1])
        found: dict[int, Tensor] = {}
        for reader in {handle.reader.digest: handle.reader for handle in handles}.values():
            mine = [place for place, handle in enumerate(handles) if handle.reader.digest == reader.digest]
            units = x.new_tensor([handles[place].typical for place in mine])
            read = reader(x).each([handles[place].own for place in mine]) / units
            found |= dict(zip(mine, read.T.reshape(-1, *acts.shape[:-1]), strict=True))
        return [found[place] for place in range(len(handles))]

    @property
    def width(self) -> int:
        return int(self.writes.shape[0])

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {"encoder": self.reader.encoder, "bias": self.reader.bias, "writes": self.writes}

    @cached_property
    def digest(self) -> str:
        numbers = torch.tensor([self.own, self.typical, self.level], dtype=torch.float64)
        where = f"{self.site}|{self.model_digest}|{self.reader.digest}"
        return digest_tensors({"writes": self.writes, where: numbers})

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where it is of another model or width."""
        require_fit("concept", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        rest = {name: getattr(self, name) for name in ("name", "own", "typical", "level", "model_name", "model_digest")}
        reader, where = self.reader, str(self.site)
        about = _About(site=where, seen=sorted(self.seen), k=reader.k, bounded=reader.bounded, **rest)
        return write_asset(path, KIND, about, self._tensors)

    @classmethod
    def load(cls, path: Path) -> "ConceptHandle":
        """Read what `save` wrote."""
        about, held = read_asset(path, KIND, _About)
        rest = about.model_dump(exclude={"site", "seen", "k", "bounded"})
        try:
            reader = ConceptReader(held["encoder"], held["bias"], about.k, about.bounded)
            where: dict[str, Any] = {"site": Site.parse(about.site), "seen": frozenset(about.seen)}
            return cls(**rest, **where, reader=reader, writes=held["writes"])
        except (KeyError, TypeError, UsageError) as error:
            raise DirectionError(f"{path} is not a concept file, or is damaged ({error}); make it again.") from error
