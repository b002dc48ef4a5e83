"""The first principal component of paired differences (representation engineering, Zou et al. 2023).

Row i of one class is paired with row i of the other; rows beyond the shorter class have no pair. The differences are
not centred, so the component is the direction that they share, and the mean difference gives it its sign.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.directions.extraction import along_gap, extractors


@extractors.register("principal-component")
def principal_component(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """The leading right singular vector of the differences, as long as the class gap along it."""
    n = min(len(positive), len(negative))
    differences = positive[:n].double() - negative[:n].double()
    leading = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    return along_gap(leading, positive, negative)
