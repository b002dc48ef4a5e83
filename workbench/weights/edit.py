"""A weight edit: how a linear map of what a matrix writes is written into the matrix. It knows no model and no file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from workbench.interventions import LinearMap
from workbench.registry import Registry

weight_edits: "Registry[type[WeightEdit]]" = Registry(
    "weight edit", "workbench.weights.edits", "workbench.weight_edits"
)


@dataclass(frozen=True)
class WeightEdit(ABC):
    """A way of writing a map into a matrix [d_model in] whose columns are what it writes to the stream, in float32.

    `exact` says that the edited matrix writes what a hook would have made of the old one's output; `low_rank` that the
    change is of the map's rank, so that an adapter can hold it; `clears` that what the map takes away whole is gone
    from the matrix's columns (law 9); `by_column` that each column is edited without a look at the others, so that a
    large matrix need not be held in float32 at once.
    """

    exact: ClassVar[bool] = False
    low_rank: ClassVar[bool] = False
    clears: ClassVar[bool] = True
    by_column: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, matrix: Float[Tensor, "d_model in"], change: LinearMap) -> Float[Tensor, "d_model in"]:
        """The edited matrix, without the map's shift, which is the bias's; the argument is left as it was."""

    def mapped(self, change: LinearMap) -> LinearMap:
        """The map that is written, where it is another than the one that was asked for."""
        return change
