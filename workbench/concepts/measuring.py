"""How well a bottleneck reads, on texts that nothing was learned or chosen on.

- reading: for each known concept the area under the ROC curve of its score, texts that show it against near misses, and
  against all other texts; the calibration error of its probability.
- mass: shares of known, discovered and residual in the likeliest token's centred logit, and the cross-entropy of the
  next token with and without the residual, in nats (last site alone).
- leakage: how well a linear probe reads each concept from discovered + residual, averaged over a text; from the known
  part; and from the stream after LEACE (Belrose et al. 2023), where no linear probe reads it on the texts it was made
  from.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import cross_entropy

from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.training import Taught, text_scores
from workbench.models import Head
from workbench.statistics import Score, mean_score

_MOST, _AT_ONCE = 2000, 250  # tokens on which logits are computed, and of them at once
_RIDGE = 0.01


def reading_scores(made: Bottleneck, held: Taught) -> tuple[list[Score], dict[str, dict[str, float]]]:
    """Means over the concepts, and each concept's own figures."""
    scores = text_scores(made, held).double().numpy()
    rows: dict[str, dict[str, float]] = {}
    for column, name in enumerate(made.names):
        labels = held.labels[:, column]
        known = ~np.isnan(labels)
        if len(set(labels[known])) < 2:
            continue
        slope, offset = made.calibration[column].tolist()
        likely = 1 / (1 + np.exp(-(slope * scores[known, column] + offset)))
        rows[name] = {
            "auroc": float(roc_auc_score(labels[known], scores[known, column])),
            "auroc_all": float(roc_auc_score(np.nan_to_num(labels), scores[:, column])),
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


def mass_scores(made: Bottleneck, head: Head, held: Taught, seed: int = 0) -> list[Score]:
    """Shares of the likeliest token's logit, and cross-entropies, on some tokens."""
    corpus = held.corpus
    ends = corpus.following >= 0
    order = torch.randperm(len(corpus.acts), generator=torch.Generator().manual_seed(seed))
    rows = order[ends[order]][:_MOST]
    batches = [_mass(made, head, corpus.acts[part].float(), corpus.following[part]) for part in rows.split(_AT_ONCE)]
    along, losses = (torch.cat(each) for each in zip(*batches, strict=True))
    known, moving, constant, residual = along.T
    sizes = torch.stack([known, moving + constant, residual], dim=1).abs()
    shares, alone = sizes / sizes.sum(dim=1, keepdim=True), along.abs()
    found = {
        "share of known": shares[:, 0].tolist(),
        "share of discovered": shares[:, 1].tolist(),
        "share of residual": shares[:, 2].tolist(),
        "share of the constant alone": (alone[:, 2] / alone.sum(dim=1)).tolist(),
        "cross-entropy of the model": losses[:, 0].tolist(),
        "cross-entropy without the residual": losses[:, 1].tolist(),
    }
    return [mean_score(name, values, "neither") for name, values in found.items()]


def _mass(
    made: Bottleneck, head: Head, acts: Float[Tensor, "token d_model"], targets: Int[Tensor, " token"]
) -> tuple[Float[Tensor, "token 4"], Float[Tensor, "token 2"]]:
    """What known, discovered, constant and residual add to the likeliest token's logit; losses with and without."""
    reading = made(acts)
    whole, bare = (head.logits(part) for part in (acts, reading.known + reading.discovered))
    weights = head.direct_rows(head.rows(whole.argmax(dim=1)).float() - head.mean_row) / head.scale(acts)
    parts = (reading.known, reading.discovered - reading.constant, reading.constant, reading.residual)
    along = torch.stack([(part * weights).sum(dim=1) for part in parts], dim=1)
    losses = [cross_entropy(logits, targets, reduction="none") for logits in (whole, bare)]
    return along, torch.stack(losses, dim=1)


def leakage_scores(made: Bottleneck, train: Taught, held: Taught) -> list[Score]:
    """AUROC of linear probes, averaged over the concepts."""
    streams, known = (
        [texts.averaged(of).double().numpy() for texts in (train, held)]
        for of in (lambda x: x, lambda x: made.known_active(x).written(made.vectors))
    )
    rest = [stream - part for stream, part in zip(streams, known, strict=True)]
    labels = [train.labels, held.labels]
    asked = (("the stream", streams), ("the known part", known), ("discovered + residual", rest))
    found = [mean_score(f"probe on {name}", _probed(parts, labels)) for name, parts in asked]
    return [*found, mean_score("probe after LEACE", _probed(streams, labels, erased=True))]


def _probed(parts: Sequence[np.ndarray], labels: Sequence[np.ndarray], erased: bool = False) -> list[float]:
    """Each concept's AUROC on held texts, of a probe that was fitted on training texts: (training, held) of both."""
    (train, held), (taught, truth) = parts, labels
    centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, held = (train - centre) / spread, (held - centre) / spread
    found = []
    for column in range(taught.shape[1]):
        mine, test = (~np.isnan(each[:, column]) for each in (taught, truth))
        if any(len(set(each[rows, column])) < 2 for each, rows in ((taught, mine), (truth, test))):
            continue
        x, y = train[mine], held[test]
        if erased:
            eraser = leace(x, taught[mine, column])
            x, y = x - (x - x.mean(axis=0)) @ eraser, y - (y - x.mean(axis=0)) @ eraser
        probe = LogisticRegression(C=_RIDGE, max_iter=500).fit(x, taught[mine, column])
        found.append(float(roc_auc_score(truth[test, column], probe.decision_function(y))))
    return found


def leace(x: Float[np.ndarray, "n d"], labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, "d d"]:
    """The matrix E for which x - (x - mean) E has equal class means and is as near to x as that allows, in the sense of
    its covariance."""
    off = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(off.T @ off / len(x))
    keep = values > values.max() * 1e-10
    white = vectors[:, keep] / np.sqrt(values[keep]) @ vectors[:, keep].T
    back = vectors[:, keep] * np.sqrt(values[keep]) @ vectors[:, keep].T
    cross = white @ (off.T @ (labels - labels.mean())) / len(x)
    unit = cross / max(float(np.linalg.norm(cross)), 1e-12)
    found: np.ndarray = white @ np.outer(unit, unit) @ back
    return found
