"""A linear probe: one number read from an activation, and how well it was read on topics that it had not seen.

    score = h . unit + bias

`unit` has length one in the space of raw activations; what the method scaled is folded in. The score lies above 0 where
the method says positive, above `threshold` where an alarm is raised at the stated rate of false ones. In class gaps it
is the coordinate along the probe's direction (0: the negative class's mean, 1: the positive one's), and the probability
is a logistic function of that (Platt 1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from probes.linear.reading import no_gain
from workbench.directions import Coordinate, Direction
from workbench.directions.asset import About, assets, read_asset, require_fit, write_asset
from workbench.display import Shown
from workbench.errors import DirectionError, ProbeError, UsageError
from workbench.models import Site
from workbench.runs import digest_tensors
from workbench.statistics import Score

if TYPE_CHECKING:
    from workbench.models import Subject

KIND = "probe"
FILE = "probe.safetensors"


class Quality(BaseModel):
    """What held-out prompts say of a probe, all of it on topics that it was not fitted on.

    `controls` are the AUROCs of what does not know, `gains` the probe's AUROC less each of these. `detected` and
    `false_alarms` are at a threshold that other folds set for a rate of `rate_asked`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    auroc: Score
    controls: dict[str, Score]
    gains: dict[str, Score]
    calibration_error: Score
    detected: Score
    false_alarms: Score
    rate_asked: float
    topics: int

    @property
    def selectivity(self) -> Score:
        """The AUROC less that of shuffled labels (Hewitt and Liang 2019)."""
        return self.gains["shuffled labels"].model_copy(update={"name": "selectivity"})

    @property
    def as_good(self) -> tuple[str, ...]:
        """The controls over which no gain is shown."""
        return no_gain(self.gains)


class _About(About):
    kind: Literal["alignment-workbench probe"] = "alignment-workbench probe"
    bias: float
    threshold: float
    origin: float
    scale: float
    slope: float
    intercept: float
    position: int | None
    method: str
    quality: Quality


_NUMBERS = ("bias", "threshold", "origin", "scale", "slope", "intercept")


@assets.register(KIND)
@dataclass(frozen=True, eq=False)
class Probe(Shown):
    """A line read at `site` and `position` of one model; see the module for what its numbers mean.

    `seen` are the digests of the prompts that it was fitted and measured on. Raises ProbeError where the vector is not
    finite or not of length one, or where the classes do not part along it.
    """

    unit: Float[Tensor, " d_model"]
    bias: float
    threshold: float
    origin: float
    scale: float
    slope: float
    intercept: float
    site: Site
    position: int | None
    method: str
    model_name: str
    model_digest: str
    quality: Quality
    seen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        finite = bool(torch.isfinite(self.unit).all()) and all(isfinite(getattr(self, name)) for name in _NUMBERS)
        if not finite or abs(float(self.unit.double().norm()) - 1.0) > 1e-4:
            raise ProbeError(f"The {self.method} probe at {self.site} is not a finite line of length one.")
        if not self.scale > 0:
            raise ProbeError(
                f"Along the {self.method} probe at {self.site} the positive class is not above the negative one, so it "
                "reads nothing; choose another site or more prompts."
            )

    def __repr__(self) -> str:
        at = f"{self.site}" if self.position is None else f"{self.site}, position {self.position}"
        quality = self.quality
        beside = f"shuffled labels {quality.controls['shuffled labels'].value:.2f}"
        words = f", words {quality.controls['words'].value:.2f}" if "words" in quality.controls else ""
        as_much = [f"{name} ({quality.controls[name].value:.2f})" for name in quality.as_good]
        shown = f"for all that n={quality.auroc.n} shows"
        warning = f"; its control reads as much, {shown}: {', '.join(as_much)}" if as_much else ""
        return (
            f"Probe({self.method} at {at} of {self.model_name}, AUROC {quality.auroc.format('.2f')} "
            f"n={quality.auroc.n}, {beside}{words}{warning})"
        )

    @cached_property
    def digest(self) -> str:
        numbers = torch.tensor([getattr(self, name) for name in _NUMBERS], dtype=torch.float64)
        return digest_tensors({"unit": self.unit, f"{self.site}|{self.position}|{self.model_digest}": numbers})

    @property
    def width(self) -> int:
        return int(self.unit.shape[0])

    def scores(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How far on the positive side, in units of the activations."""
        found: Tensor = acts.float() @ self.unit.to(acts.device) + self.bias
        return found

    def coordinate(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """The same in class gaps from the negative class, as its direction reads it."""
        found: Tensor = (acts.float() @ self.unit.to(acts.device) - self.origin) / self.scale
        return found

    @classmethod
    def coordinates(
        cls, probes: "Sequence[Probe]", acts: Float[Tensor, "*batch d_model"]
    ) -> list[Float[Tensor, "*batch"]]:
        """Those of several probes at one site."""
        return [probe.coordinate(acts) for probe in probes]

    def probability(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """How likely it is positive, where both classes are as common as among the prompts it was fitted on."""
        return torch.sigmoid(self.slope * self.coordinate(acts) + self.intercept)

    @property
    def alarm(self) -> float:
        """The threshold as a coordinate, which is what a monitor compares."""
        return (self.threshold - self.bias - self.origin) / self.scale

    def direction(self) -> Direction:
        """The line without its threshold: strength 1 is the gap of the classes along it."""
        return Direction(
            self.unit, self.origin, self.scale, self.site, self.position, f"{self.method} probe", self.model_name,
            self.model_digest, {"auroc": self.quality.auroc.value}, self.seen,
        )  # fmt: skip

    def readout(self) -> Coordinate:
        """What a gate asks: above the threshold exactly where the score is above the probe's."""
        bias = (self.origin + self.bias) / self.scale
        return Coordinate(self.direction(), threshold=self.threshold / self.scale, bias=bias)

    def described(self) -> dict[str, Any]:
        """What is known of it, as plain values."""
        quality = self.quality
        return {
            "site": str(self.site), "position": self.position, "method": self.method, "quality": quality.model_dump(),
            "selectivity": quality.selectivity.model_dump(), "as_good": list(quality.as_good),
        }  # fmt: skip

    def check_fits(self, subject: "Subject") -> None:
        """Raise DirectionError where the probe is of another model or width."""
        require_fit(KIND, self, self.model_name, self.model_digest, subject)

    def save(self, path: Path) -> Path:
        """Write it as safetensors, whole or not at all."""
        names = (*_NUMBERS, "position", "method", "model_name", "model_digest", "quality")
        rest = {name: getattr(self, name) for name in names}
        return write_asset(path, KIND, _About(site=str(self.site), seen=sorted(self.seen), **rest), {"unit": self.unit})

    @classmethod
    def load(cls, path: Path) -> "Probe":
        """Read what `save` wrote; a folder means the probe in it."""
        file = path / FILE if path.is_dir() else path
        about, tensors = read_asset(file, KIND, _About)
        rest = {name: getattr(about, name) for name in type(about).model_fields if name not in ("kind", "site", "seen")}
        try:
            return cls(unit=tensors["unit"].float(), site=Site.parse(about.site), seen=frozenset(about.seen), **rest)
        except (KeyError, UsageError) as error:
            raise DirectionError(f"{file} is not a probe file, or is damaged ({error}); make it again.") from error
