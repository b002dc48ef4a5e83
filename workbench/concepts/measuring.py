"""What is measured of a bottleneck, on texts that nothing was learned or chosen on; the scores are derived from it.

- reading: each text's score for each known concept.
- mass: what known, discovered, constant and residual add to the likeliest token's centred logit, and the loss of the
  next token with and without the residual, in nats (last site alone).
- probes: what a linear probe says of each text, that was fitted on training texts: on the stream; on the known part; on
  discovered + residual, averaged over a text; and on the stream after LEACE (Belrose et al. 2023), where no linear
  probe reads the concept on the texts it was made from.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.taught import Taught
from workbench.models import Head

_MOST, _AT_ONCE = 2000, 250  # tokens on which logits are computed, and of them at once
_RIDGE = 0.01
PROBES = ("the stream", "the known part", "discovered + residual", "the stream after LEACE")


def measured_reading(made: Bottleneck, held: Taught) -> dict[str, Tensor]:
    """Scores and labels [text known] (nan: unknown), and the calibration [known 2]."""
    return {
        "scores": held.scored(made), "labels": torch.from_numpy(held.labels), "calibration": made.calibration
    }  # fmt: skip


def measured_mass(made: Bottleneck, head: Head, held: Taught, seed: int = 0) -> dict[str, Tensor]:
    """Of some tokens: parts of the likeliest token's logit [token 4], and the losses [token 2]."""
    corpus = held.corpus
    ends = corpus.following >= 0
    order = torch.randperm(len(corpus.acts), generator=torch.Generator().manual_seed(seed))
    rows = order[ends[order]][:_MOST]
    batches = [_mass(made, head, corpus.acts[part].float(), corpus.following[part]) for part in rows.split(_AT_ONCE)]
    along, losses = (torch.cat(each) for each in zip(*batches, strict=True))
    return {"along": along, "losses": losses}


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


def measured_probes(made: Bottleneck, train: Taught, held: Taught) -> dict[str, Tensor]:
    """For each probe its decision on every labelled text [text known]; nan elsewhere."""
    streams, known = (
        [texts.averaged(of).double().numpy() for texts in (train, held)]
        for of in (lambda x: x, lambda x: made.known_reader(x).written(made.vectors))
    )
    rest = [stream - part for stream, part in zip(streams, known, strict=True)]
    labels = [train.labels, held.labels]
    found = {
        name: _probed(parts, labels, erased=name == PROBES[3])
        for name, parts in zip(PROBES, (streams, known, rest, streams), strict=True)
    }
    return {name: torch.from_numpy(decisions).float() for name, decisions in found.items()}


def _probed(parts: Sequence[np.ndarray], labels: Sequence[np.ndarray], erased: bool) -> np.ndarray:
    """Each concept's decision on held texts, of a probe that was fitted on training texts: (training, held) of both."""
    (train, held), (taught, truth) = parts, labels
    centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, held = (train - centre) / spread, (held - centre) / spread
    found = np.full(truth.shape, np.nan)
    for column in range(taught.shape[1]):
        mine, test = (~np.isnan(each[:, column]) for each in (taught, truth))
        if len(set(taught[mine, column])) < 2 or not test.any():
            continue
        x, y = train[mine], held[test]
        if erased:
            eraser = leace(x, taught[mine, column])
            x, y = x - (x - x.mean(axis=0)) @ eraser, y - (y - x.mean(axis=0)) @ eraser
        probe = LogisticRegression(C=_RIDGE, max_iter=500).fit(x, taught[mine, column])
        found[test, column] = probe.decision_function(y)
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
