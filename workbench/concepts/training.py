"""Train a bottleneck from captured streams; the model is not run again.

1. Adam on whole texts, in another order each epoch; the probability of teaching falls from epoch to epoch.
2. After each epoch the losses on validation texts; the best epoch is kept, and where none was better for some epochs
   training ends.
3. Where there is an adversary, known vectors are moved so that no gap between class means is left.
4. Then the units: each concept's typical activation, its level in near misses, and the calibration of its score on the
   validation texts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize, softplus

from workbench.activations import ActivationStore
from workbench.concepts.bottleneck import Bottleneck, scale_of
from workbench.concepts.corpus import Corpus, capture_corpus
from workbench.concepts.labels import ConceptSet, Part
from workbench.concepts.learner import Learner, Lesson, Losses
from workbench.concepts.settings import ConceptSettings
from workbench.errors import ConceptError
from workbench.models import Head, Site, Subject
from workbench.prompts import Prompts
from workbench.runs import track


@dataclass(frozen=True)
class Taught:
    """Captured texts and their labels; `seen` are the texts' digests, as prompts."""

    corpus: Corpus
    labels: np.ndarray  # [text concept]
    seen: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.corpus)

    def with_labels_dealt(self, seed: int = 0) -> "Taught":
        """The same texts, with each concept's labels dealt out anew among them: what says nothing cannot be read."""
        draws, labels = np.random.default_rng(seed), self.labels.copy()
        for column in labels.T:
            known = ~np.isnan(column)
            column[known] = draws.permutation(column[known])
        return replace(self, labels=labels)

    def averaged(self, of: Callable[[Tensor], Tensor]) -> Float[Tensor, "text width"]:
        """The mean over each text's tokens of something of its stream, which was divided by its scale."""
        return torch.cat([lesson.averaged(of(lesson.x)) for lesson in self.lessons(256)])

    def lesson(self, texts: "list[int]") -> Lesson:
        """Some of the texts, ready to learn from."""
        picked = self.corpus.picked(texts)
        wide = picked.acts.float()
        return Lesson(
            wide / scale_of(wide), picked.following, picked.text_of(), torch.from_numpy(self.labels[texts]).float()
        )

    def lessons(self, size: int) -> Iterator[Lesson]:
        for start in range(0, len(self), size):
            yield self.lesson(list(range(start, min(start + size, len(self)))))


@dataclass(frozen=True)
class Trained:
    """A bottleneck and the losses of each epoch, on training and on validation texts."""

    bottleneck: Bottleneck
    history: tuple[dict[str, Any], ...]


def train_bottleneck(
    subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, settings: ConceptSettings | None = None
) -> Trained:
    """Train on `train`, choose the epoch on `held`.

    At the last site the next-token loss goes through the model's head; at any other there is none, for the rest of the
    model is not run. Raises ConceptError where the labels are not those of the concepts.
    """
    how = settings or ConceptSettings()
    if train.labels.shape[1] != len(concepts):
        raise ConceptError(
            f"The labels are of {train.labels.shape[1]} concepts and {concepts.name} has {len(concepts)}."
        )
    last = train.corpus.site == last_site(subject)
    head = Head.of(subject) if last and how.weights.next_token else None
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        learner = Learner(how, len(concepts), sampled(train, how.seed))
        history = tuple(_descend(learner, Losses(learner, head, how.seed), train, held))
    made = replace(_made(subject, concepts, learner, train), seen=train.seen | held.seen)
    return Trained(calibrated(made, held), history)


def taught(subject: Subject, concepts: ConceptSet, part: Part, site: Site) -> Taught:
    """The texts of a part, captured or read from the store, and their labels."""
    rows = concepts.part(part)
    seen = frozenset(prompt.digest for prompt in Prompts.of(rows.texts))
    return Taught(capture_corpus(subject, rows.texts, site, store=ActivationStore.default()), rows.labels, seen)


def last_site(subject: Subject) -> Site:
    """Where the last block leaves the stream."""
    return Site(subject.n_layers - 1, "resid_post")


def _descend(learner: Learner, losses: Losses, train: Taught, held: Taught) -> Iterator[dict[str, Any]]:
    """Epoch after epoch, until validation is no longer better; the learner ends as it was at the best."""
    how = learner.settings
    optimiser = torch.optim.AdamW(learner.parameters(), lr=how.rate, weight_decay=how.decay)
    draws = np.random.default_rng(how.seed)
    _begin(learner, train)
    best, kept, since = float("inf"), learner.state_dict(), 0
    for epoch in track(range(how.epochs), "Training the bottleneck"):
        taught = how.taught_last + (how.taught_first - how.taught_last) * (1 - epoch / how.epochs)
        rate = how.rate * (1 - epoch / how.epochs)
        orders = _orders(len(train), how.batch, draws)
        for group in optimiser.param_groups:
            group["lr"] = rate
        learned = [_step(losses, optimiser, train.lesson(rows), taught) for rows in orders]
        with torch.no_grad():
            seen = [losses(lesson, 0.0) for lesson in held.lessons(how.batch)]
        validation = _mean(seen)
        yield {"epoch": epoch, "train": _mean(learned), "validation": validation}
        total = sum(validation.values())
        if total < best:
            best, kept, since = total, {name: value.clone() for name, value in learner.state_dict().items()}, 0
        else:
            since += 1
        if since >= how.patience:
            break
    learner.load_state_dict(kept)


def _begin(learner: Learner, train: Taught) -> None:
    """Known vectors begin as the gap between texts that show the concept and near misses."""
    with torch.no_grad():
        means = train.averaged(lambda x: x)
        labels = torch.from_numpy(train.labels)
        for concept in range(labels.shape[1]):
            shown, other = (means[labels[:, concept] == value] for value in (1, 0))
            if len(shown) and len(other):
                learner.vectors[concept] = shown.mean(dim=0) - other.mean(dim=0)


def _step(losses: Losses, optimiser: torch.optim.AdamW, lesson: Lesson, taught: float) -> dict[str, Tensor]:
    optimiser.zero_grad()
    found = losses(lesson, taught)
    torch.stack(list(found.values())).sum().backward()
    torch.nn.utils.clip_grad_norm_(losses.learner.parameters(), 1.0)
    optimiser.step()
    return {name: value.detach() for name, value in found.items()}


def _orders(n: int, size: int, draws: np.random.Generator) -> Iterator[list[int]]:
    order = draws.permutation(n).tolist()
    for start in range(0, n, size):
        if len(order[start : start + size]) > 1:
            yield order[start : start + size]


def _mean(found: list[dict[str, Tensor]]) -> dict[str, float]:
    return {name: float(torch.stack([each[name] for each in found]).mean()) for name in found[0]}


def sampled(train: Taught, seed: int, most: int = 20_000) -> Float[Tensor, "token d_model"]:
    """Streams over their scales of some tokens, to begin from."""
    n = len(train.corpus.acts)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:most]
    wide = train.corpus.acts[rows].float()
    return wide / scale_of(wide)


def _made(subject: Subject, concepts: ConceptSet, learner: Learner, train: Taught) -> Bottleneck:
    """The bottleneck of what was learned, with its units."""
    how = learner.settings
    with torch.no_grad():
        readers = learner.readers / learner.spread
        encoder = learner.plain_encoder()
        n, m = len(concepts), how.discovered
        made = Bottleneck(
            readers=readers.clone(),
            reader_bias=(learner.reader_bias - readers @ learner.centre).clone(),
            vectors=learner.vectors.clone(),
            encoder=encoder.clone(),
            encoder_bias=(learner.encoder_bias - encoder @ learner.centre).clone(),
            decoder=learner.plain_decoder().clone(),
            centre=learner.centre.clone(),
            typical=torch.ones(n), level=torch.zeros(n), calibration=torch.tensor([1.0, 0.0]).repeat(n, 1),
            names=concepts.names, k_known=min(how.k_known, n), k_discovered=min(how.k_discovered, m),
            site=train.corpus.site, model_name=subject.name, model_digest=subject.digest,
        )  # fmt: skip
        closed = _closed(made, train, how.weights.adversary) if how.weights.adversary else made
        return _with_units(closed, train)


def _closed(made: Bottleneck, texts: Taught, weight: float) -> Bottleneck:
    """The adversary's last word: known vectors that leave no gap between class means, as near as that allows.

    Of each concept's labelled texts the mean stream's gap has to be that of the activations times the vectors,
    G_a V = G_x: then no linear reader finds the concept in what is left. Solved with a ridge, from what was learned.
    """
    active, streams = texts.averaged(lambda x: _dense(made, x)), texts.averaged(lambda x: x)
    of_active, of_stream = (_gaps(values, torch.from_numpy(texts.labels)) for values in (active, streams))
    missing = of_stream - of_active @ made.vectors
    square = of_active @ of_active.T
    ridge = square.diagonal().mean() * 1e-2 / weight
    step = of_active.T @ torch.linalg.solve(square + ridge * torch.eye(len(square)), missing)
    return replace(made, vectors=made.vectors + step)


def _gaps(values: Float[Tensor, "text width"], labels: Float[Tensor, "text known"]) -> Float[Tensor, "known width"]:
    """For each concept, the mean over texts that show it less that over near misses."""
    shown, other = ((labels == value).float() for value in (1, 0))
    means = [side.T @ values / side.sum(dim=0).clamp_min(1)[:, None] for side in (shown, other)]
    return means[0] - means[1]


def _with_units(made: Bottleneck, train: Taught) -> Bottleneck:
    units = normalize(made.vectors, dim=-1)
    active, along = train.averaged(lambda x: _dense(made, x)), train.averaged(lambda x: x @ units.T)
    labels = torch.from_numpy(train.labels)
    shown, other = ((labels == value).float() for value in (1, 0))

    def mean(side: Tensor, values: Tensor) -> Tensor:
        return (side * values).sum(dim=0) / side.sum(dim=0).clamp_min(1)

    typical = (mean(shown, active) - mean(other, active)).clamp_min(1e-3)
    return replace(made, typical=typical, level=mean(other, along))


def _dense(made: Bottleneck, x: Tensor) -> Float[Tensor, "token known"]:
    active = made.known_active(x)
    return torch.zeros(len(x), len(made.names)).scatter(1, active.concepts, active.values)


def text_scores(made: Bottleneck, texts: Taught) -> Float[Tensor, "text known"]:
    """Each text's score for each concept: the log-odds of its noisy-or, bounded."""
    found = []
    for lesson in texts.lessons(256):
        logits = lesson.x @ made.readers.T + made.reader_bias
        absent = lesson.summed(softplus(logits)).clamp(1e-6, 60.0)
        found.append(torch.log(torch.expm1(absent)))
    return torch.cat(found)


def calibrated(made: Bottleneck, held: Taught) -> Bottleneck:
    """Slope and offset by which a text's score becomes a probability, by logistic regression on validation texts."""
    scores = text_scores(made, held).double().numpy()
    rows = made.calibration.clone()
    for concept in range(len(made.names)):
        labels = held.labels[:, concept]
        known = ~np.isnan(labels)
        if len(set(labels[known])) == 2:
            fitted = LogisticRegression(C=1.0).fit(scores[known, concept, None], labels[known])
            rows[concept] = torch.tensor([max(float(fitted.coef_[0, 0]), 1e-3), float(fitted.intercept_[0])])
    return replace(made, calibration=rows)
