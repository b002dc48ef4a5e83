"""The difference in means without its component along the negative class's mean ("projected abliteration").

    r = d - (d . m) m / |m|^2,   d = mean(positive) - mean(negative),   m = mean(negative)

What harmless prompts have in common stays where it is when the direction is ablated.
"""

from jaxtyping import Float, Float64
from torch import Tensor

from workbench.directions.extraction import extractors
from workbench.directions.extractors.difference_in_means import difference_in_means


@extractors.register("projected-difference")
def projected_difference(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """The part of the difference in means that is orthogonal to the negative mean."""
    difference = difference_in_means(positive, negative)
    mean = negative.double().mean(dim=0)
    return difference - (difference @ mean) / (mean @ mean).clamp_min(1e-12) * mean
