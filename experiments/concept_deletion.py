"""Does attribution to training texts mean something? Delete what informed a concept most, train again, look.

    python -m experiments.concept_deletion OUT [MODEL]

1. Train a small bottleneck on 20,000 tokens; on test texts that show a concept, take its part in the logits there.
2. Delete the top 5 % of training texts by gradient, train again; delete 5 % at random, train again; several seeds each.
3. The fall of the part, paired by concept and seed: sign-flip test.
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
from workbench.concepts.settings import Weights
from workbench.concepts.taught import Taught, taught
from workbench.concepts.training import last_site
from workbench.models import Head, Subject, open_model
from workbench.runs import reporting, rich_reporter, track, write_json
from workbench.statistics import paired_difference

CONCEPTS = ("french", "code", "question", "medicine", "refusal", "cooking", "negation", "sadness")
SEEDS = (0, 1, 2)
TOKENS, SHARE = 20_000, 0.05


def main(arguments: Sequence[str]) -> None:
    """Train, delete, train again; one JSON file."""
    out, name = Path(arguments[0]), (arguments[1] if len(arguments) > 1 else "qwen2.5-coder-0.5b-instruct")
    with rich_reporter() as reporter, reporting(reporter):
        subject, concepts = open_model(name), builtin_concepts()
        parts = [taught(subject, concepts, part, last_site(subject)) for part in ("train", "val", "test")]
        rows = list(track(_rows(subject, concepts, *parts), "Deleting", len(SEEDS) * len(CONCEPTS)))
    falls = {kind: [row.parts["whole"] - row.parts[kind] for row in rows] for kind in ("informing", "random")}
    found = paired_difference("fall of the concept's part", falls["random"], falls["informing"], "mean")
    write_json(out, {"rows": [vars(row) for row in rows], "difference": found.model_dump()})
    sys.stdout.write(f"{found!r}\n")
    whole = np.mean([row.parts["whole"] for row in rows])
    for kind, values in falls.items():
        sys.stdout.write(f"{kind}: mean fall {np.mean(values):.3f} of {whole:.3f} logits\n")


@dataclass(frozen=True)
class Row:
    """A concept's part in the logits, with all texts, without the informing ones, and without random ones."""

    concept: str
    seed: int
    parts: dict[str, float]


def _rows(subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, test: Taught) -> Iterator[Row]:
    head = Head.of(subject)
    for seed in SEEDS:
        draws = np.random.default_rng(seed)
        few = _some(train, draws)
        whole = _trained(subject, concepts, few, held, seed)
        for concept in CONCEPTS:
            acts, weights = _asked(head, test, concepts.names.index(concept))
            top = informed_by(whole, few, acts, weights, concept).top(round(SHARE * len(few)))
            other = draws.choice(len(few), len(top), replace=False).tolist()
            found = {"whole": _part(whole, acts, weights, concept)}
            for kind, gone in (("informing", top), ("random", other)):
                again = _trained(subject, concepts, _without(few, gone), held, seed)
                found[kind] = _part(again, acts, weights, concept)
            yield Row(concept, seed, found)


def _some(train: Taught, draws: np.random.Generator) -> Taught:
    order, total, kept = draws.permutation(len(train)), 0, []
    for text in order.tolist():
        rows = train.corpus.rows(text)
        total += rows.stop - rows.start
        if total > TOKENS:
            break
        kept.append(text)
    return Taught(train.corpus.picked(kept), train.labels[kept])


def _without(train: Taught, gone: Sequence[int]) -> Taught:
    kept = [text for text in range(len(train)) if text not in set(gone)]
    return Taught(train.corpus.picked(kept), train.labels[kept])


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
