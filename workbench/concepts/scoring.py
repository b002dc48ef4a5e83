"""Scores of a bottleneck, from what was measured of each text, concept and token; a run is verified by them.

- reading: for each known concept the area under the ROC curve of its score, texts that show it against near misses, and
  against all other texts; the calibration error of its probability.
- mass: shares in the likeliest token's logit, of absolute parts; cross-entropies.
- leakage: the probes' areas under the ROC curve, against near misses.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

from workbench.concepts.measuring import PROBES
from workbench.statistics import Score, mean_score

Rows = dict[str, dict[str, float]]


def reading_scores(found: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[list[Score], Rows]:
    """Means over the concepts, and each concept's own figures."""
    rows: Rows = {}
    for column, name in enumerate(names):
        scores, labels = (found[kind][:, column].double().numpy() for kind in ("scores", "labels"))
        known = ~np.isnan(labels)
        if len(set(labels[known])) < 2:
            continue
        slope, offset = found["calibration"][column].tolist()
        likely = 1 / (1 + np.exp(-(slope * scores[known] + offset)))
        rows[name] = {
            "auroc": float(roc_auc_score(labels[known], scores[known])),
            "auroc_all": float(roc_auc_score(np.nan_to_num(labels), scores)),
            "calibration_error": calibration_error(likely, labels[known]),
            "n": int(known.sum()),
        }
    kinds = ("auroc", "auroc_all", "calibration_error")
    return [mean_score(kind, [row[kind] for row in rows.values()]) for kind in kinds], rows


def calibration_error(likely: np.ndarray, labels: np.ndarray, bins: int = 5) -> float:
    """The expected calibration error over bins of equal counts (Naeini et al. 2015)."""
    order = np.argsort(likely)
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    return float(sum(len(p) * abs(likely[p].mean() - labels[p].mean()) for p in parts) / len(order))


def mass_scores(found: Mapping[str, Tensor]) -> list[Score]:
    """Shares of the likeliest token's logit, and cross-entropies, on some tokens."""
    known, moving, constant, residual = found["along"].numpy().T
    sizes = np.abs(np.stack([known, moving + constant, residual], axis=1))
    shares, alone = sizes / sizes.sum(axis=1, keepdims=True), found["along"].abs().numpy()
    values = {
        "share of known": shares[:, 0],
        "share of discovered": shares[:, 1],
        "share of residual": shares[:, 2],
        "share of the constant alone": alone[:, 2] / alone.sum(axis=1),
        "cross-entropy of the model": found["losses"][:, 0].numpy(),
        "cross-entropy without the residual": found["losses"][:, 1].numpy(),
    }
    return [mean_score(name, each.tolist(), "neither") for name, each in values.items()]


def leakage_scores(found: Mapping[str, Tensor], labels: Tensor) -> list[Score]:
    """AUROC of linear probes, averaged over the concepts."""
    return [mean_score(f"probe on {name}", _areas(found[name].numpy(), labels.numpy())) for name in PROBES]


def _areas(decisions: np.ndarray, labels: np.ndarray) -> list[float]:
    found = []
    for said, truth in zip(decisions.T, labels.T, strict=True):
        known = ~np.isnan(truth) & ~np.isnan(said)
        if len(set(truth[known])) == 2:
            found.append(float(roc_auc_score(truth[known], said[known])))
    return found
