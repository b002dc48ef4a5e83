"""A direction: a unit vector with an origin and a natural scale.

The coordinate of an activation h along it, in class gaps from the negative class, is (h . unit - origin) / scale:
0 is where the negative class stands on average, 1 where the positive one does. So a strength of 1.0 means the
same in every model, and for a difference in means it is exactly the raw difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import DirectionError, UsageError, first_fault
from workbench.models import Site
from workbench.runs import digest_tensors, writing

if TYPE_CHECKING:
    from workbench.models import Subject

_KIND: Literal["alignment-workbench direction"] = "alignment-workbench direction"


class _About(BaseModel):
    """What a direction file says beside its vector."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    kind: Literal["alignment-workbench direction"]
    origin: float
    scale: float
    site: str
    position: int | None
    method: str
    model_name: str
    model_digest: str
    quality: dict[str, float]
    seen: list[str]


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

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where the direction is of another model or width."""
        if self.d_model != subject.d_model:
            raise DirectionError(
                f"The direction is {self.d_model} wide (from {self.model_name}) and {subject.name} is "
                f"{subject.d_model} wide; find one in {subject.name}."
            )
        if self.model_digest != subject.digest:
            raise DirectionError(
                f"The direction was found in {self.model_name} ({self.model_digest[:8]}), not in {subject.name} "
                f"({subject.digest[:8]}); find one in {subject.name}."
            )

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            kind=_KIND,
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
        with writing(path) as draft:
            save_file({"unit": self.unit.contiguous()}, draft, metadata={"direction": about.model_dump_json()})
        return path

    @classmethod
    def load(cls, path: Path) -> "Direction":
        """Read what `save` wrote; a run folder means the direction in it."""
        file = path / "direction.safetensors" if path.is_dir() else path
        if not file.is_file():
            raise DirectionError(f"There is no direction at {file}; give a direction file or a finished find run.")
        try:
            with safe_open(file, framework="pt") as tensors:
                about = _About.model_validate_json((tensors.metadata() or {})["direction"])
                # Copied, for a sum may round differently where its terms begin at another byte of memory.
                unit = tensors.get_tensor("unit").float().clone()
            site = Site.parse(about.site)
        except (SafetensorError, KeyError, OSError, UsageError) as error:
            raise DirectionError(f"{file} is not a direction file, or is damaged ({error}); find it again.") from error
        except ValidationError as error:
            raise DirectionError(f"{file} is damaged ({first_fault(error)}); find it again.") from error
        held = about.model_dump(exclude={"kind", "site", "seen"})
        return cls(unit=unit, site=site, seen=frozenset(about.seen), **held)
