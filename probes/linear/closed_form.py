"""Ridge regression on held-out folds, for many penalties at once and without a fit for each fold.

1. With centred rows X and K = X X^T = Q diag(l) Q^T, the fit to all rows is H y, where
       H = 1 1^T / n + Q diag(l / (l + penalty)) Q^T.
2. Left out together, the rows t of a fold miss their values by (I - H_tt)^-1 (y - H y)_t, exactly as if the regression
   had been fitted without them, intercept and all (the block form of Allen's PRESS, 1974).

One decomposition serves every fold, penalty and column of y, so shuffled labels cost next to nothing. A penalty is
given as a share of the rows' mean squared norm, so that it means the same in every layer. Features are not scaled.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3)


def penalty_of(x: Float64[np.ndarray, "n d"], strength: float) -> float:
    """Scikit-learn's alpha for a share of the mean squared norm of the centred rows."""
    return float(strength * ((x - x.mean(axis=0)) ** 2).sum() / len(x))


def ridge_held_out(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n k"], folds: Int[np.ndarray, " n"],
    strengths: Sequence[float] = STRENGTHS,
) -> Float64[np.ndarray, "strength n k"]:  # fmt: skip
    """What each row is said to be by the regression that was fitted without its fold.

    Where all rows are the same there is nothing to fit; each is then said to be 0.
    """
    found = np.zeros((len(strengths), *y.shape))
    middle = x - x.mean(axis=0)
    if not middle.any():
        return found
    values, vectors = np.linalg.eigh(middle @ middle.T)
    values = values.clip(min=0)
    turned = vectors.T @ y
    for number, strength in enumerate(strengths):
        kept = values / (values + penalty_of(x, strength))
        missed = y - y.mean(axis=0) - vectors @ (kept[:, None] * turned)
        for fold in np.unique(folds):
            rows = folds == fold
            own = vectors[rows] * kept @ vectors[rows].T + 1 / len(x)
            found[number, rows] = y[rows] - np.linalg.solve(np.eye(int(rows.sum())) - own, missed[rows])
    return found


def ridge_line(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n k"], strength: float
) -> tuple[Float64[np.ndarray, "d k"], Float64[np.ndarray, " k"]]:
    """The weights and intercepts of the regression on all rows, from the rows' side: there are fewer than features."""
    mean, middle = x.mean(axis=0), x - x.mean(axis=0)
    gram = middle @ middle.T + penalty_of(x, strength) * np.eye(len(x))
    weight = middle.T @ np.linalg.solve(gram, y - y.mean(axis=0))
    return weight, y.mean(axis=0) - mean @ weight
