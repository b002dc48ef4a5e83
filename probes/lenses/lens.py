"""A lens: the stream in the middle of a model, carried to its end and read there as the model reads its own.

    logits(h, site) = unembed(norm(M h + m))          M, m: of the site; at the last site M = I, m = 0

It reads the stream where it enters the first block, and where it leaves each. What M and m are is the method's
(`methods/`); norm, unembedding and whatever follows it are the model's own modules, by TransformerLens's
`logit_readout`. At the last site nothing is carried, so that a lens there is the model's own output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from workbench.directions.asset import read_asset, write_asset
from workbench.display import Shown
from workbench.errors import LensError, UsageError
from workbench.models import Site, Subject
from workbench.runs import digest_tensors
from workbench.statistics import Score

KIND = "lens"
FILE = "lens.safetensors"


class Quality(BaseModel):
    """How far each site's reading is from the model's own output, on prompts that fitted nothing.

    `kl[name]` holds a score (nats, mean over prompts) for every site; names are the lens's own and those it is beside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kl: dict[str, list[Score]]
    tokens: int

    @property
    def n(self) -> int:
        """The prompts that it was measured on."""
        return min(score.n for scores in self.kl.values() for score in scores)


class _About(BaseModel):
    """What a lens file says beside its tensors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    kind: Literal["alignment-workbench lens"] = "alignment-workbench lens"
    method: str
    sites: list[str]
    model_name: str
    model_digest: str
    seen: list[str] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    quality: Quality | None = None


@dataclass(frozen=True, eq=False)
class Lens(Shown):
    """`sites` in the model's order, the last one its last; `matrices` and `shifts` are those of all but the last.

    Without matrices the stream is read as it is. `seen` are the digests of the prompts that it was fitted to.
    """

    method: str
    sites: tuple[Site, ...]
    model_name: str
    model_digest: str
    matrices: Float[Tensor, "site d_model d_model"] | None = None
    shifts: Float[Tensor, "site d_model"] | None = None
    seen: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: Quality | None = None

    def __post_init__(self) -> None:
        carried = [tensor for tensor in (self.matrices, self.shifts) if tensor is not None]
        if not self.sites or any(len(tensor) != len(self.sites) - 1 for tensor in carried):
            raise LensError(f"The tensors of the {self.method} lens of {self.model_name} do not fit its sites; refit.")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in carried):
            raise LensError(
                f"The {self.method} lens of {self.model_name} has values that are not finite; fit it again, in float32."
            )

    def __repr__(self) -> str:
        said = ""
        if self.quality is not None:
            middle = len(self.sites) // 2
            scores = ", ".join(f"{name} {of[middle].format('.2f')}" for name, of in self.quality.kl.items())
            said = f"; held-out KL at {self.sites[middle]}, n={self.quality.n}: {scores}"
        return f"Lens({self.method}, {len(self.sites)} sites of {self.model_name}{said})"

    def plot(self) -> Any:
        """Its held-out KL by site, beside the logit lens and its control; LensError where it was not measured."""
        from workbench.plots.lenses import layers_figure

        if self.quality is None:
            raise LensError(f"Nothing was measured of this {self.method} lens; fit it with `fitted_lens`.")
        depths = [depth(site) for site in self.sites[:-1]]
        return layers_figure(self.quality.kl, depths, "KL to the model's output (nats)", logarithmic=True)

    def carry(self, stream: Float[Tensor, "*batch d_model"], site: Site) -> Float[Tensor, "*batch d_model"]:
        """The stream at `site` as it would be at the last one. Raises LensError where the lens does not read there."""
        if site not in self.sites:
            raise LensError(
                f"The {self.method} lens of {self.model_name} does not read {site}; it reads {self.sites[0]} to "
                f"{self.sites[-1]}."
            )
        wide, place = stream.float(), self.sites.index(site)
        if site == self.sites[-1]:
            return wide
        carried = wide if self.matrices is None else wide @ self.matrices[place].T.to(wide.device)
        return carried if self.shifts is None else carried + self.shifts[place].to(wide.device)

    @property
    def width(self) -> int | None:
        """How wide the streams are that it carries; None where any are."""
        return None if self.matrices is None else int(self.matrices.shape[-1])

    @cached_property
    def digest(self) -> str:
        tensors = {"matrices": self.matrices, "shifts": self.shifts}
        named = f"{self.method}|{self.model_digest}|{'|'.join(map(str, self.sites))}"
        held = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return digest_tensors(held | {named: torch.zeros(1)})

    def check_fits(self, subject: Subject) -> None:
        """Raise LensError where it is of another model, or its last site is not the model's."""
        if self.model_digest != subject.digest or self.sites[-1] != stream_sites(subject)[-1]:
            raise LensError(
                f"The {self.method} lens was fitted to {self.model_name} ({self.model_digest[:8]}), not to "
                f"{subject.name} ({subject.digest[:8]}); fit one to {subject.name}."
            )
        if self.width not in (None, subject.d_model):
            raise LensError(
                f"The {self.method} lens is {self.width} wide and {subject.name} is {subject.d_model} wide; refit."
            )

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            method=self.method, sites=list(map(str, self.sites)), model_name=self.model_name, seen=sorted(self.seen),
            model_digest=self.model_digest, settings=dict(self.settings), quality=self.quality,
        )  # fmt: skip
        tensors = {"matrices": self.matrices, "shifts": self.shifts}
        return write_asset(path, KIND, about, {name: held for name, held in tensors.items() if held is not None})

    @classmethod
    def load(cls, path: Path) -> "Lens":
        """Read what `save` wrote; a folder means the lens in it."""
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise LensError(f"There is no lens at {path}; give the file or the folder that `workbench lens` wrote.")
        about, tensors = read_asset(file, KIND, _About)
        try:
            return cls(
                about.method, tuple(map(Site.parse, about.sites)), about.model_name, about.model_digest,
                tensors.get("matrices"), tensors.get("shifts"), frozenset(about.seen), about.settings, about.quality,
            )  # fmt: skip
        except UsageError as error:
            raise LensError(f"{file} is not a lens, or is damaged ({error}).") from error


def stream_sites(subject: Subject) -> tuple[Site, ...]:
    """Where the stream enters the first block, and where it leaves each."""
    return (Site(0, "resid_pre"), *(Site(layer, "resid_post") for layer in range(subject.n_layers)))


def depth(site: Site) -> int:
    """How many blocks the stream has passed at one of these sites."""
    return 0 if site.stream == "resid_pre" else site.layer + 1
