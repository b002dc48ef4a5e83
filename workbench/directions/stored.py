"""A stored activation: one vector of the stream, as it was somewhere, to be put somewhere else."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.activations import Activations
from workbench.directions.asset import About, assets, read_asset, require_fit, write_asset
from workbench.errors import DirectionError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors

if TYPE_CHECKING:
    from workbench.models import Subject

KIND = "activation"


class _About(About):
    """What an activation file says beside its vector."""

    label: str


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class StoredActivation:
    """A vector [d_model] captured at `site` of one model, or the mean of many; `label` says of what.

    Raises DirectionError where a value is not a finite number.
    """

    values: Float[Tensor, " d_model"]
    site: Site
    label: str
    model_name: str
    model_digest: str
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not bool(torch.isfinite(self.values).all()):
            raise DirectionError(f"The activation {self.label} at {self.site} is not a vector of finite numbers.")

    @classmethod
    def mean(
        cls, subject: "Subject", activations: Activations, site: Site, position: int | None = None
    ) -> "StoredActivation":
        """The mean over the examples that were captured at one site and position."""
        values = activations.at(site, position).double().mean(dim=0).float()
        label = f"mean of {len(activations)}"
        return cls(values, site, label, subject.name, subject.digest, frozenset(activations.prompt_digests))

    def __repr__(self) -> str:
        return f"StoredActivation({self.label} at {self.site} of {self.model_name})"

    @property
    def width(self) -> int:
        return int(self.values.shape[0])

    @cached_property
    def digest(self) -> str:
        return digest_tensors({f"{self.site}|{self.model_digest}": self.values})

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where it is of another model or width."""
        require_fit("stored activation", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            site=str(self.site), label=self.label, model_name=self.model_name, model_digest=self.model_digest,
            seen=sorted(self.seen),
        )  # fmt: skip
        return write_asset(path, KIND, about, {"values": self.values})

    @classmethod
    def load(cls, path: Path) -> "StoredActivation":
        """Read what `save` wrote."""
        about, tensors = read_asset(path, KIND, _About)
        try:
            values, site = tensors["values"].float(), Site.parse(about.site)
        except (KeyError, UsageError) as error:
            raise DirectionError(
                f"{path} is not an activation file, or is damaged ({error}); make it again."
            ) from error
        return cls(values, site, about.label, about.model_name, about.model_digest, frozenset(about.seen))
