"""A random direction as long as the difference in means: what the other extractors must beat."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.directions.extraction import extractors
from workbench.directions.extractors.difference_in_means import difference_in_means


@extractors.register("random-control")
def random_control(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """The same random direction at every place of one width: it knows nothing of the activations but their scale."""
    length = difference_in_means(positive, negative).norm()
    drawn = torch.randn(positive.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn / drawn.norm() * length
