"""Does attribution to training texts mean something? Delete what informed a concept most, train again, look.

    python -m experiments.concept_deletion OUT [MODEL]

1. Concepts in groups of eight, so that each has more training texts than the 5 % that are deleted. Train a small
   bottleneck on at most 20,000 tokens of a group; on test texts that show a concept, take its part in the logits.
2. Delete the top 5 % of training texts by gradient, train again; delete 5 % at random, once for the group, train again;
   several seeds.
3. How much nearer to nothing the part comes, paired: the mean over seeds is one value of a concept; sign flips.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from workbench.concepts import ConceptSet, ConceptSettings, builtin_concepts, train_bottleneck
from workbench.concepts.bottleneck import Bottleneck
from workbench.concepts.informing import informed_by
from workbench.concepts.labels import chosen
from workbench.concepts.settings import Weights
from workbench.concepts.taught import Taught, taught
from workbench.concepts.training import last_site
from workbench.models import Head, Subject, open_model
from workbench.runs import reporting, rich_reporter, track, write_json
from workbench.statistics import paired_difference

GROUP, SEEDS = 8, (0, 1)
TOKENS, SHARE = 20_000, 0.05


def main(arguments: Sequence[str]) -> None:
    """Train, delete, train again; one JSON file."""
    out, name = Path(arguments[0]), (arguments[1] if len(arguments) > 1 else "qwen2.5-coder-0.5b-instruct")
    with rich_reporter() as reporter, reporting(reporter):
        subject, concepts = open_model(name), builtin_concepts()
        whole = [taught(subject, concepts, part, last_site(subject)) for part in ("train", "val", "test")]
        rows: list[Row] = []
        for start in track(range(0, len(concepts), GROUP), "Deleting"):
            group = chosen(concepts, concepts.names[start : start + GROUP])
            parts = [_of_group(texts, slice(start, start + GROUP)) for texts in whole]
            rows += [row for seed in SEEDS for row in _rows(subject, group, seed, *parts)]
    falls = {kind: _falls(rows, kind) for kind in ("informing", "random")}
    found = paired_difference("fall of the concept's part", falls["random"], falls["informing"], "mean")
    write_json(out, {"rows": [vars(row) for row in rows], "difference": found.model_dump()})
    sys.stdout.write(f"{found!r}\n")
    size = np.mean([abs(row.parts["whole"]) for row in rows])
    for kind, values in falls.items():
        sys.stdout.write(f"{kind}: mean fall {np.mean(values):.3f} of {size:.3f} logits\n")


def _of_group(texts: Taught, columns: slice) -> Taught:
    """The texts that are labelled for some of the group's concepts."""
    labelled = np.flatnonzero(~np.isnan(texts.labels[:, columns]).all(axis=1))
    return Taught(texts.corpus.picked(labelled.tolist()), texts.labels[labelled][:, columns])


@dataclass(frozen=True)
class Row:
    """A concept's part in the logits, with all texts, without the informing ones, and without random ones."""

    concept: str
    seed: int
    parts: dict[str, float]


def _falls(rows: Sequence[Row], kind: str) -> list[float]:
    """Of each concept, how much nearer to nothing its part has come; the mean over seeds."""
    found: dict[str, list[float]] = {}
    for row in rows:
        whole = row.parts["whole"]
        found.setdefault(row.concept, []).append(float(np.sign(whole)) * (whole - row.parts[kind]))
    return [float(np.mean(values)) for values in found.values()]


def _rows(
    subject: Subject, concepts: ConceptSet, seed: int, train: Taught, held: Taught, test: Taught
) -> Iterator[Row]:
    head, draws = Head.of(subject), np.random.default_rng(seed)
    few = _some(train, draws)
    whole = _trained(subject, concepts, few, held, seed)
    n = round(SHARE * len(few))
    control = _trained(
        subject, concepts, _without(few, draws.choice(len(few), n, replace=False).tolist()), held, seed
    )  # fmt: skip
    for column, concept in enumerate(concepts.names):
        acts, weights = _asked(head, test, column)
        part = _part(whole, acts, weights, concept)
        scores = informed_by(whole, few, acts, weights, concept).by_gradient * float(np.sign(part))
        informing = _trained(subject, concepts, _without(few, scores.topk(n).indices.tolist()), held, seed)
        left = {"informing": informing, "random": control}
        yield Row(concept, seed, {"whole": part} | {k: _part(made, acts, weights, concept) for k, made in left.items()})


def _some(train: Taught, draws: np.random.Generator) -> Taught:
    order, total, kept = draws.permutation(len(train)), 0, []
    for text in order.tolist():
        rows = train.corpus.rows(text)
        total += rows.stop - rows.start
        if total > TOKENS:
            break
        kept.append(text)
    return train.picked(kept)


def _without(train: Taught, gone: Sequence[int]) -> Taught:
    out = set(gone)
    return train.picked([text for text in range(len(train)) if text not in out])


def _trained(subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, seed: int) -> Bottleneck:
    how = ConceptSettings(discovered=64, k_discovered=16, epochs=6, seed=seed, weights=Weights(next_token=0))
    return train_bottleneck(subject, concepts, train, held, how).bottleneck


def _asked(head: Head, test: Taught, column: int) -> tuple[Tensor, Tensor]:
    """The streams of test texts that show the concept, and what the logit of each following token reads of them."""
    corpus = test.corpus.picked(np.flatnonzero(test.labels[:, column] == 1).tolist())
    ends = corpus.following >= 0
    acts = corpus.acts[ends].float()
    rows = head.rows(corpus.following[ends]).float() - head.mean_row
    return acts, head.direct_rows(rows) / head.scale(acts)


def _part(made: Bottleneck, acts: Tensor, weights: Tensor, concept: str) -> float:
    """The mean part of a concept in those logits."""
    reading = made(acts)
    column = made.index(concept)
    along = (weights @ made.vectors[column]) * reading.scale[:, 0]
    return float((reading.known_active.of(column) * along).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
