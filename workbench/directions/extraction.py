"""From activations to directions: an extractor is a callable on the two classes' vectors at one place."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Float64
from torch import Tensor

from workbench.activations import Activations
from workbench.directions.direction import Direction
from workbench.errors import DirectionError
from workbench.models import Site, Subject
from workbench.registry import Registry
from workbench.runs import track


@runtime_checkable
class Extractor(Protocol):
    """Returns a raw direction, from the negative class towards the positive one; its length is the scale."""

    def __call__(
        self, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
    ) -> Float64[Tensor, " d_model"]: ...


extractors: Registry[Extractor] = Registry("extractor", "workbench.directions.extractors", "workbench.extractors")

Place = tuple[int | None, Site]


def along_gap(
    direction: Float[Tensor, " d_model"], positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """`direction` towards the positive class, as long as the gap between the classes' means along it."""
    unit = direction.double() / direction.double().norm()
    return unit * ((positive.double().mean(dim=0) - negative.double().mean(dim=0)) @ unit)


def extract_directions(
    subject: Subject, positive: Activations, negative: Activations, method: str = "difference-in-means"
) -> dict[Place, Direction]:
    """The direction at every captured (position, site) that has one, by the named extractor.

    Where the two classes do not differ at all, as at a template token before any text, there is none.
    """
    extract = extractors[method]
    positions: tuple[int | None, ...] = positive.positions or (None,)
    seen = frozenset(positive.prompt_digests + negative.prompt_digests)
    found: dict[Place, Direction] = {}
    for site in track(positive.sites, "Extracting directions"):
        for position in positions:
            ours, theirs = positive.at(site, position), negative.at(site, position)
            raw, mean = extract(ours, theirs), theirs.double().mean(dim=0)
            if float(raw.norm()) > 0:
                found[position, site] = Direction.from_raw(
                    raw,
                    mean,
                    site=site,
                    position=position,
                    method=method,
                    model_name=subject.name,
                    model_digest=subject.digest,
                    seen=seen,
                )
    if not found:
        raise DirectionError("The two classes are the same at every place; check that the prompts differ.")
    return found
