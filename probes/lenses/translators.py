"""Translators by least squares: the affine map of a site's stream onto the last one (Din et al. 2023), shrunk.

    minimise   sum_i w_i |M h_i + m - y_i|^2  +  penalty . sum_f c_f |M - I|_f^2         w_i = 1 / scale(y_i)^2

y_i is the last stream of the same token. The final norm divides by y's scale, so that is what errors are measured in;
c_f is the mean square of feature f, so that the penalty does not depend on the units of a feature. Shrinking goes
towards the identity, which is the logit lens: what the tokens do not show stays as the logit lens has it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from probes.lenses.streams import Streams
from workbench.runs import track

Affine = tuple[Float[Tensor, "site d_model d_model"], Float[Tensor, "site d_model"]]


def least_squares(streams: Streams, penalty: float) -> Affine:
    """Translators of every site but the last, in float32."""
    targets = streams.values[-1].double()
    weight = 1.0 / targets.square().mean(dim=-1, keepdim=True).clamp_min(1e-12)
    weight = weight / weight.mean()
    found = [_solved(values.double(), targets, weight, penalty) for values in track(streams.values[:-1], "Translating")]
    matrices, shifts = zip(*found, strict=True)
    return torch.stack(matrices), torch.stack(shifts)


def _solved(
    x: Float[Tensor, "token d_model"],
    y: Float[Tensor, "token d_model"],
    weight: Float[Tensor, "token 1"],
    penalty: float,
) -> tuple[Float[Tensor, "d_model d_model"], Float[Tensor, " d_model"]]:
    mean_x, mean_y = ((weight * each).sum(dim=0) / weight.sum() for each in (x, y))
    centred, rest = x - mean_x, y - mean_y - (x - mean_x)  # what the identity leaves
    weighted = weight * centred
    second = centred.T @ weighted
    ridge = penalty * second.diagonal().clamp_min(1e-12 * float(second.diagonal().mean()))
    change = torch.linalg.solve(second + ridge.diag(), weighted.T @ rest).T
    matrix = torch.eye(len(second), dtype=second.dtype) + change
    return matrix.float(), (mean_y - matrix @ mean_x).float()
