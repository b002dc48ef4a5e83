"""What the shape of two clouds of points is, as numbers.

    geometric median     argmin_m sum_i |x_i - m|, by Weiszfeld's steps (1937), mended where a step meets a point
                         (Vardi and Zhang 2000)
    Fisher ratio         |mean_1 - mean_0|^2 / (tr cov_1 + tr cov_0): between the classes against within them
    silhouette           mean of (b - a) / max(a, b), a the mean distance to one's own class and b to the other one
                         (Rousseeuw 1987; scikit-learn's)
    TwoNN                mu_i = second nearest / nearest distance; -log(1 - F(mu)) = d log(mu), fitted through 0 on the
                         nine tenths with smallest mu (Facco et al. 2017)
    participation ratio  (sum l)^2 / sum l^2 of the covariance's eigenvalues l

All are of the space as it is. Whitened ones, and curvature, are left out.
"""

import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from workbench.errors import CaptureError

_STEPS = 500
_CLOSE = 1e-10  # relative; a step of the median below it is the last
_KEPT = 0.9  # of the ratios, as the paper fits them: the largest ones are noisy


def distances_between(points: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n n"]:
    """All distances, coordinate by coordinate: exactly 0 between copies.

    scikit-learn's are of norms and inner products, which leave a rounding error there that TwoNN takes for a neighbour.
    """
    return np.asarray(squareform(pdist(points)))


def geometric_median(points: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " d"]:
    """The point whose distances to all points have the least sum."""
    middle = points.mean(axis=0)
    size = np.linalg.norm(points - middle, axis=1).mean()
    for _ in range(_STEPS):
        away = points - middle
        distances = np.linalg.norm(away, axis=1)
        met = distances <= _CLOSE * size
        if met.all():
            break
        weights = 1 / distances[~met]
        pull = weights @ away[~met]
        strength = np.linalg.norm(pull)
        # Points that are met hold the middle back, each with a force of 1.
        held = min(1.0, met.sum() / strength) if strength > 0 else 1.0
        step = (1 - held) * pull / weights.sum()
        middle = middle + step
        if np.linalg.norm(step) <= _CLOSE * size:
            break
    return middle


def fisher_ratio(points: Float64[np.ndarray, "n d"], positive: Bool[np.ndarray, " n"]) -> float:
    """The squared gap of the means against the spread within both classes."""
    one, other = points[positive], points[~positive]
    gap = one.mean(axis=0) - other.mean(axis=0)
    within = one.var(axis=0, ddof=1).sum() + other.var(axis=0, ddof=1).sum()
    return float(gap @ gap / within)


def silhouette(distances: Float64[np.ndarray, "n n"], positive: Bool[np.ndarray, " n"]) -> float:
    """How much nearer a point is to its own class than to the other one: -1 to 1."""
    return float(silhouette_score(distances, positive, metric="precomputed"))


def two_nn(distances: Float64[np.ndarray, "n n"]) -> float:
    """The dimension that the ratios of the two nearest distances tell; points that coincide count once."""
    apart = distances.copy()
    np.fill_diagonal(apart, np.inf)
    first = ~np.tril(apart == 0).any(axis=1)
    near = np.sort(apart[np.ix_(first, first)], axis=1)[:, :2]
    if len(near) < 4:
        raise CaptureError(
            f"An intrinsic dimension needs at least 4 points that differ; there are {len(near)}: give more prompts."
        )
    ratios = np.sort(np.log(near[:, 1] / near[:, 0]))
    kept = int(_KEPT * len(ratios))
    tail = -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    spread = float(ratios[:kept] @ ratios[:kept])
    return float(ratios[:kept] @ tail / spread) if spread > 0 else float("inf")


def participation_ratio(points: Float64[np.ndarray, "n d"]) -> float:
    """How many directions share the variance: 1 on a line, d in a ball."""
    centred = points - points.mean(axis=0)
    inner = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    return float(np.trace(inner) ** 2 / (inner**2).sum())


def cosine(one: Float64[np.ndarray, " d"], other: Float64[np.ndarray, " d"]) -> float:
    """The cosine of two vectors; 0 where one of them is 0."""
    size = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / size) if size > 0 else 0.0
