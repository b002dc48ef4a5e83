"""The normal of a logistic regression between the classes (a linear probe's weight vector; Alain and Bengio 2016).

Activations are divided by one number, their overall standard deviation, so that the penalty means the same in every
layer and model; no coordinate is weighed against another.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from workbench.directions.extraction import along_gap, extractors

PENALTY = 1.0  # inverse strength C of the L2 penalty


@extractors.register("logistic-normal")
def logistic_normal(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float64[Tensor, " d_model"]:
    """The weight vector, as long as the class gap along it."""
    from sklearn.linear_model import LogisticRegression

    values = torch.cat([positive, negative]).double()
    values = (values - values.mean(dim=0)) / values.std().clamp_min(1e-12)
    classes = [1] * len(positive) + [0] * len(negative)
    fitted = LogisticRegression(C=PENALTY, max_iter=1000).fit(values.numpy(), classes)
    return along_gap(torch.from_numpy(fitted.coef_[0]), positive, negative)
