"""A direction: a unit vector with an origin and a natural scale.

The coordinate of an activation h along it, in class gaps from the negative class, is (h . unit - origin) / scale:
0 is where the negative class stands on average, 1 where the positive one does. So a strength of 1.0 means the
same in every model, and for a difference in means it is exactly the raw difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions.asset import About, assets, read_asset, require_fit, write_asset
from workbench.errors import DirectionError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors

if TYPE_CHECKING:
    from workbench.models import Subject

KIND = "direction"


class _About(About):
    """What a direction file says beside its vector."""

    kind: Literal["alignment-workbench direction"] = "alignment-workbench direction"
    origin: float
    scale: float
    position: int | None
    method: str
    quality: dict[str, float]


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector [d_model] found at `site` and `position` of one model by `method`.

    `quality` holds what the search measured of it, `seen` the digests of the prompts that it was found with: what is
    measured of it is never measured on these. Raises DirectionError where the vector is not finite, not of length
    one, or has no extent.
    """

    unit: Float[Tensor, " d_model"]
    origin: float
    scale: float
    site: Site
    position: int | None
    method: str
    model_name: str
    model_digest: str
    quality: Mapping[str, float] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        finite = self.unit.ndim == 1 and bool(torch.isfinite(self.unit).all()) and isfinite(self.origin)
        if not finite or abs(float(self.unit.detach().double().norm()) - 1.0) > 1e-4:
            raise DirectionError(f"The {self.method} direction at {self.site} is not a finite vector of length one.")
        if not 0 < self.scale < inf:
            raise DirectionError(f"The {self.method} direction at {self.site} has no extent (scale {self.scale}).")

    @classmethod
    def from_raw(cls, raw: Tensor, negative_mean: Tensor, *, scale: float | None = None, **where: Any) -> "Direction":
        """Normalise `raw` in float64; the scale is its length unless given."""
        wide = raw.double()
        length = float(wide.norm())
        if not length > 0:
            raise DirectionError(
                f"The two classes do not differ at {where.get('site')}, position {where.get('position')}, so there "
                "is no direction between them; check that the prompts differ."
            )
        unit = wide / length
        origin = float(negative_mean.double() @ unit)
        return cls(unit.float(), origin, length if scale is None else scale, **where)

    def __repr__(self) -> str:
        at = f"{self.site}" if self.position is None else f"{self.site}, position {self.position}"
        return f"Direction({self.method} at {at} of {self.model_name}, scale {self.scale:.3g})"

    @property
    def d_model(self) -> int:
        return int(self.unit.shape[0])

    @cached_property
    def digest(self) -> str:
        numbers = torch.tensor([self.origin, self.scale], dtype=torch.float64)
        return digest_tensors({"unit": self.unit, f"{self.site}|{self.position}|{self.model_digest}": numbers})

    @property
    def width(self) -> int:
        return self.d_model

    def coordinate(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """Where activations stand along it, in class gaps from the negative class."""
        found: Tensor = (acts.float() @ self.unit.to(acts.device) - self.origin) / self.scale
        return found

    @classmethod
    def coordinates(
        cls, directions: "Sequence[Direction]", acts: Float[Tensor, "*batch d_model"]
    ) -> list[Float[Tensor, "*batch"]]:
        """Those along several directions at one site."""
        return [direction.coordinate(acts) for direction in directions]

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where the direction is of another model or width."""
        require_fit("direction", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            origin=self.origin,
            scale=self.scale,
            site=str(self.site),
            position=self.position,
            method=self.method,
            model_name=self.model_name,
            model_digest=self.model_digest,
            quality=dict(self.quality),
            seen=sorted(self.seen),
        )
        return write_asset(path, KIND, about, {"unit": self.unit})

    @classmethod
    def load(cls, path: Path | str) -> "Direction":
        """Read what `save` wrote; a run folder means the direction in it."""
        place = Path(path)
        file = place / "direction.safetensors" if place.is_dir() else place
        about, tensors = read_asset(file, KIND, _About)
        try:
            unit, site = tensors["unit"].float(), Site.parse(about.site)
        except (KeyError, UsageError) as error:
            raise DirectionError(f"{file} is not a direction file, or is damaged ({error}); make it again.") from error
        held = about.model_dump(exclude={"kind", "site", "seen"})
        return cls(unit=unit, site=site, seen=frozenset(about.seen), **held)
