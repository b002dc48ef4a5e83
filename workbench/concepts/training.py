"""Train a bottleneck from captured streams; the model is not run again.

1. The course: epochs over whole texts, the best kept (`course`).
2. Where there is an adversary, known vectors are moved so that no gap between class means is left.
3. Then the units: each concept's typical activation, its level in near misses, and the calibration of its score on the
   validation texts (`units`).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.course import Course
from workbench.concepts.labels import ConceptSet
from workbench.concepts.learner import Learner
from workbench.concepts.settings import ConceptSettings
from workbench.concepts.taught import Taught
from workbench.concepts.units import calibrated, closed, with_units
from workbench.errors import ConceptError
from workbench.models import Head, Site, Subject


@dataclass(frozen=True)
class Trained:
    """A bottleneck and the losses of each epoch, on training and on validation texts."""

    bottleneck: Bottleneck
    history: tuple[dict[str, Any], ...]


def train_bottleneck(
    subject: Subject,
    concepts: ConceptSet,
    train: Taught,
    held: Taught,
    settings: ConceptSettings | None = None,
    *,
    checkpoint: Path | None = None,
) -> Trained:
    """Train on `train`, choose the epoch on `held`.

    At the last site the next-token loss goes through the model's head; at any other there is none, for the rest of the
    model is not run. With a `checkpoint`, training goes on from that file where it is there, and writes it after each
    epoch. Raises ConceptError where the labels are not those of the concepts.
    """
    how = settings or ConceptSettings()
    if train.labels.shape[1] != len(concepts):
        raise ConceptError(
            f"The labels are of {train.labels.shape[1]} concepts and {concepts.name} has {len(concepts)}."
        )
    head = Head.of(subject) if train.corpus.site == last_site(subject) and how.weights.next_token else None
    learner = Learner(how, len(concepts), train.sampled(how.seed))
    history = Course(learner, head, checkpoint).run(train, held)
    made = _made(subject, concepts, learner, train.corpus.site)
    made = closed(made, train, how.weights.adversary) if how.weights.adversary else made
    made = replace(with_units(made, train), seen=train.seen | held.seen)
    return Trained(calibrated(made, held), history)


def last_site(subject: Subject) -> Site:
    """Where the last block leaves the stream."""
    return Site(subject.n_layers - 1, "resid_post")


def _made(subject: Subject, concepts: ConceptSet, learner: Learner, site: Site) -> Bottleneck:
    """The bottleneck of what was learned, as yet without units."""
    how, n, m = learner.settings, len(concepts), learner.settings.discovered
    with torch.no_grad():
        readers = learner.readers / learner.spread
        encoder = learner.plain_encoder()
        return Bottleneck(
            readers=readers.clone(),
            reader_bias=(learner.reader_bias - readers @ learner.centre).clone(),
            vectors=learner.vectors.clone(),
            encoder=encoder.clone(),
            encoder_bias=(learner.encoder_bias - encoder @ learner.centre).clone(),
            decoder=learner.plain_decoder().clone(),
            centre=learner.centre.clone(),
            typical=torch.ones(n), level=torch.zeros(n), calibration=torch.tensor([1.0, 0.0]).repeat(n, 1),
            names=concepts.names, k_known=min(how.k_known, n), k_discovered=min(how.k_discovered, m),
            site=site, model_name=subject.name, model_digest=subject.digest,
        )  # fmt: skip
