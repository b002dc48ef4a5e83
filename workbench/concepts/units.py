"""What a trained bottleneck is given last: vectors that leave no gap, natural units, and calibration."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.taught import Taught


def closed(made: Bottleneck, texts: Taught, weight: float) -> Bottleneck:
    """The adversary's last word: known vectors that leave no gap between class means, as near as that allows.

    Of each concept's labelled texts the mean stream's gap has to be that of the activations times the vectors,
    G_a V = G_x: then no linear reader finds the concept in what is left. Solved with a ridge, from what was learned.
    """
    active, streams = texts.averaged(lambda x: _dense(made, x)), texts.averaged(lambda x: x)
    of_active, of_stream = (_gaps(values, texts.labels) for values in (active, streams))
    missing = of_stream - of_active @ made.vectors
    square = of_active @ of_active.T
    ridge = square.diagonal().mean() * 1e-2 / weight
    step = of_active.T @ torch.linalg.solve(square + ridge * torch.eye(len(square)), missing)
    return replace(made, vectors=made.vectors + step)


def with_units(made: Bottleneck, train: Taught) -> Bottleneck:
    """Each concept's typical activation, and the level of near misses along its vector."""
    units = normalize(made.vectors, dim=-1)
    active, along = train.averaged(lambda x: _dense(made, x)), train.averaged(lambda x: x @ units.T)
    typical = _gaps(active, train.labels).diagonal().clamp_min(1e-3)
    return replace(made, typical=typical.clone(), level=_means(along, train.labels, 0).diagonal().clone())


def calibrated(made: Bottleneck, held: Taught) -> Bottleneck:
    """Slope and offset by which a text's score becomes a probability, by logistic regression on validation texts."""
    scores = held.scored(made).double().numpy()
    rows = made.calibration.clone()
    for concept in range(len(made.names)):
        labels = held.labels[:, concept]
        known = ~np.isnan(labels)
        if len(set(labels[known])) == 2:
            fitted = LogisticRegression(C=1.0).fit(scores[known, concept, None], labels[known])
            rows[concept] = torch.tensor([max(float(fitted.coef_[0, 0]), 1e-3), float(fitted.intercept_[0])])
    return replace(made, calibration=rows)


def _gaps(values: Float[Tensor, "text width"], labels: np.ndarray) -> Float[Tensor, "known width"]:
    """For each concept, the mean over texts that show it less that over near misses."""
    return _means(values, labels, 1) - _means(values, labels, 0)


def _means(values: Float[Tensor, "text width"], labels: np.ndarray, label: int) -> Float[Tensor, "known width"]:
    """For each concept, the mean over the texts that have a label."""
    side = torch.from_numpy(labels == label).float()
    return side.T @ values / side.sum(dim=0).clamp_min(1)[:, None]


def _dense(made: Bottleneck, x: Tensor) -> Float[Tensor, "token known"]:
    active = made.known_reader(x)
    return torch.zeros(len(x), len(made.names)).scatter(1, active.concepts, active.values)
