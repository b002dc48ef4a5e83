"""Tensors that edits hold, as files: safetensors, with what is known of them beside the numbers.

An asset has a digest, knows the model and the prompts that it was made from, and is written and read whole or not at
all. Each kind has its own key in the file's metadata, by which a file says what it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import DirectionError, first_fault
from workbench.models import Site
from workbench.registry import Registry
from workbench.runs import writing

if TYPE_CHECKING:
    from workbench.models import Subject

A = TypeVar("A", bound=BaseModel)


class About(BaseModel):
    """What every asset file says beside its tensors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    site: str
    model_name: str
    model_digest: str
    seen: list[str]


@runtime_checkable
class Asset(Protocol):
    """What an edit holds beside its numbers. `seen` are the digests of the prompts that it was made from."""

    @property
    def digest(self) -> str: ...
    @property
    def seen(self) -> frozenset[str]: ...
    @property
    def site(self) -> Site: ...
    @property
    def width(self) -> int: ...
    def check_fits(self, subject: "Subject") -> None: ...
    def save(self, path: Path) -> Path: ...


@runtime_checkable
class Watchable(Asset, Protocol):
    """An asset that can be watched while the model talks: one number a token, in natural units."""

    def coordinate(self, acts: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]: ...
    @classmethod
    def coordinates(
        cls, watched: Sequence[Any], acts: Float[Tensor, "*batch d_model"], /
    ) -> list[Float[Tensor, "*batch"]]:
        """Those of several of its kind at one site, so that what they share is computed once."""
        ...


assets: "Registry[type[Any]]" = Registry("asset", "workbench.directions", "workbench.assets")


def require_fit(what: str, asset: Asset, model_name: str, model_digest: str, subject: "Subject") -> None:
    """Raise DirectionError where an asset is of another model or width."""
    expected = subject.width(asset.site)
    if asset.width != expected:
        raise DirectionError(
            f"The {what} is {asset.width} wide (from {model_name}) and {subject.name} is {expected} wide at "
            f"{asset.site}; find one in {subject.name}."
        )
    if model_digest != subject.digest:
        raise DirectionError(
            f"The {what} was found in {model_name} ({model_digest[:8]}), not in {subject.name} "
            f"({subject.digest[:8]}); find one in {subject.name}."
        )


def write_asset(path: Path, kind: str, about: BaseModel, tensors: Mapping[str, Tensor]) -> Path:
    """Write tensors and what is known of them, whole or not at all."""
    with writing(path) as draft:
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(whole, draft, metadata={kind: about.model_dump_json()})
    return path


def kind_of(path: Path) -> str | None:
    """The kind that a file says it is; None where it is no asset file."""
    try:
        with safe_open(path, framework="pt") as tensors:
            return next(iter(tensors.metadata() or {}), None)
    except (SafetensorError, OSError):
        return None


def read_asset(path: Path, kind: str, shape: type[A]) -> tuple[A, dict[str, Tensor]]:
    """Read what `write_asset` wrote; DirectionError where it is something else, or damaged."""
    if not path.is_file():
        raise DirectionError(f"There is no {kind} at {path}; give a {kind} file or a finished find run.")
    try:
        with safe_open(path, framework="pt") as tensors:
            about = shape.model_validate_json((tensors.metadata() or {})[kind])
            # Copied, for a sum may round differently where its terms begin at another byte of memory.
            return about, {name: tensors.get_tensor(name).clone() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, OSError) as error:
        raise DirectionError(f"{path} is not a {kind} file, or is damaged ({error}); make it again.") from error
    except ValidationError as error:
        raise DirectionError(f"{path} is damaged ({first_fault(error)}); make it again.") from error
