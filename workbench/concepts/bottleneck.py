"""A concept bottleneck of the residual stream at one site: known concepts, discovered ones, and what is left.

    x = h / r,  r = root mean square of h          (what the final norm makes of it, but for its gain)
    h = known + discovered + residual
    known      = r sum_c a_c v_c                   a_c = sigmoid(R_c . x + b_c) for the k largest, else 0
    discovered = r (sum_j f_j d_j + m)             f_j = relu(E_j . x + e_j) for the k largest, else 0; m: always
    residual   = h - known - discovered

The residual is what it is by subtraction, and no edit drops it: what changes nothing changes no bit. After Koh et al.
2020 (concept bottlenecks), Yuksekgonul et al. 2023 (post-hoc ones, with a residual) and Gao et al. 2024 (top-k
autoencoders).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.concepts.active import Active, ConceptReader, scale_of
from workbench.concepts.handle import ConceptHandle
from workbench.directions.asset import About, read_asset, require_fit, write_asset
from workbench.errors import ConceptError, DirectionError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors

if TYPE_CHECKING:
    from workbench.models import Subject

KIND, FILE = "bottleneck", "bottleneck.safetensors"


class _About(About):
    """What a bottleneck file says beside its tensors."""

    names: list[str]
    k_known: int
    k_discovered: int


@dataclass(frozen=True)
class Reading:
    """The stream in parts: `known + discovered + residual` is the stream; `constant` is what of `discovered` is always
    there."""

    known_active: Active
    discovered_active: Active
    scale: Float[Tensor, "token 1"]
    known: Float[Tensor, "token d_model"]
    discovered: Float[Tensor, "token d_model"]
    constant: Float[Tensor, "token d_model"]
    residual: Float[Tensor, "token d_model"]


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """Tensors in float32; `names` are those of the known concepts.

    `typical` is each known concept's mean activation over the tokens of texts that show it, beyond that over near
    misses: its natural unit. `level` is the mean coordinate of near misses along each concept's vector. `calibration`
    turns a text's score into a probability.
    """

    readers: Float[Tensor, "known d_model"]
    reader_bias: Float[Tensor, " known"]
    vectors: Float[Tensor, "known d_model"]
    encoder: Float[Tensor, "discovered d_model"]
    encoder_bias: Float[Tensor, " discovered"]
    decoder: Float[Tensor, "discovered d_model"]
    centre: Float[Tensor, " d_model"]
    typical: Float[Tensor, " known"]
    level: Float[Tensor, " known"]
    calibration: Float[Tensor, "known 2"]
    names: tuple[str, ...]
    k_known: int
    k_discovered: int
    site: Site
    model_name: str
    model_digest: str
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self._tensors.values()):
            raise ConceptError(f"The bottleneck at {self.site} has values that are not finite; train it again.")
        n, m, width = len(self.names), len(self.encoder), self.width
        shapes = {
            "readers": (n, width), "reader_bias": (n,), "vectors": (n, width), "encoder": (m, width),
            "encoder_bias": (m,), "decoder": (m, width), "typical": (n,), "level": (n,), "calibration": (n, 2),
        }  # fmt: skip
        wrong = [name for name, shape in shapes.items() if self._tensors[name].shape != shape]
        if wrong or not (1 <= self.k_known <= n and 0 <= self.k_discovered <= m):
            raise ConceptError(f"The tensors of the bottleneck at {self.site} do not fit together; train it again.")

    def __repr__(self) -> str:
        sizes = f"{len(self.names)} known and {len(self.encoder)} discovered concepts"
        return f"Bottleneck({sizes} at {self.site} of {self.model_name})"

    def __call__(self, acts: Float[Tensor, "token d_model"]) -> Reading:
        """Take the stream of some tokens apart."""
        wide = acts.float()
        scale = scale_of(wide)
        x = wide / scale
        known_active, discovered_active = self.known_reader(x), self.discovered_reader(x)
        known = scale * known_active.written(self.vectors)
        constant = scale * self.centre
        discovered = scale * discovered_active.written(self.decoder) + constant
        residual = wide - known - discovered
        return Reading(known_active, discovered_active, scale, known, discovered, constant, residual)

    @cached_property
    def known_reader(self) -> ConceptReader:
        return ConceptReader(self.readers, self.reader_bias, self.k_known, bounded=True)

    @cached_property
    def discovered_reader(self) -> ConceptReader:
        return ConceptReader(self.encoder, self.encoder_bias, self.k_discovered, bounded=False)

    def logits(self, acts: Float[Tensor, "token d_model"]) -> Float[Tensor, "token known"]:
        """Every known concept's logit at every token."""
        wide = acts.float()
        return wide / scale_of(wide) @ self.readers.T + self.reader_bias

    def index(self, concept: str) -> int:
        """The number of a known concept. Raises ConceptError where there is none of that name."""
        if concept not in self.names:
            raise ConceptError(f"There is no concept {concept!r}; the bottleneck knows: {', '.join(self.names)}.")
        return self.names.index(concept)

    def concept(self, concept: str | int) -> ConceptHandle:
        """A known concept by its name, or a discovered one by its number, as an edit holds it."""
        where: dict[str, Any] = {"site": self.site, "model_name": self.model_name, "model_digest": self.model_digest}
        if isinstance(concept, str):
            own = self.index(concept)
            return ConceptHandle(
                name=concept, reader=self.known_reader, own=own, writes=self.vectors[own].clone(),
                typical=float(self.typical[own]), level=float(self.level[own]), seen=self.seen, **where,
            )  # fmt: skip
        if not 0 <= concept < len(self.encoder):
            raise ConceptError(f"There is no discovered concept {concept}; there are 0-{len(self.encoder) - 1}.")
        return ConceptHandle(
            name=f"discovered {concept}", reader=self.discovered_reader, own=concept,
            writes=self.decoder[concept].clone(), typical=1.0, level=0.0, seen=self.seen, **where,
        )  # fmt: skip

    @property
    def width(self) -> int:
        return int(self.centre.shape[0])

    @cached_property
    def digest(self) -> str:
        where = torch.tensor([self.k_known, self.k_discovered])
        return digest_tensors(self._tensors | {f"{self.site}|{self.model_digest}|{'|'.join(self.names)}": where})

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where it is of another model or width."""
        require_fit("bottleneck", self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        about = _About(
            site=str(self.site), names=list(self.names), k_known=self.k_known, k_discovered=self.k_discovered,
            model_name=self.model_name, model_digest=self.model_digest, seen=sorted(self.seen),
        )  # fmt: skip
        return write_asset(path, KIND, about, self._tensors)

    @classmethod
    def load(cls, path: Path) -> "Bottleneck":
        """Read what `save` wrote, or a run that trained one. Raises DirectionError where it is something else."""
        file = path / FILE if path.is_dir() else path
        about, held = read_asset(file, KIND, _About)
        rest: Mapping[str, Any] = held | about.model_dump(exclude={"site", "seen", "names"})
        try:
            return cls(**rest, site=Site.parse(about.site), seen=frozenset(about.seen), names=tuple(about.names))
        except (TypeError, UsageError) as error:
            raise DirectionError(f"{file} is not a bottleneck, or is damaged ({error}); train it again.") from error
