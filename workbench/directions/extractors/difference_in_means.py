"""Difference in means (Belrose 2023; Arditi et al. 2024): r = mean(positive) - mean(negative), in float64."""

from jaxtyping import Float, Float64
from torch import Tensor

from workbench.directions.extraction import extractors


@extractors.register("difference-in-means")
def difference_in_means(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """The vector from the mean of the negative class to the mean of the positive one."""
    return positive.double().mean(dim=0) - negative.double().mean(dim=0)
