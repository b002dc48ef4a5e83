"""Does attribution to training texts mean something? Delete what informed a concept most, train again, look.

1. Concepts in groups of eight, so that each has more training texts than the 5 % that are deleted. Train a small
   bottleneck on at most 20,000 tokens of a group; on test texts that show a concept, take its part in the logits.
2. Delete the top 5 % of training texts by gradient, train again; delete 5 % of the group's at random, once for the
   group, train again; several seeds. Few of the random ones show the concept: that says that some texts matter more
   than others, and not that the gradient tells among texts of the concept.
3. How much nearer to nothing the part comes, paired: the mean over seeds is one value of a concept; sign flips.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from experiments.bottlenecks import OfConcepts
from experiments.experiment import Answer
from experiments.journal import Row, journalled
from workbench.concepts import Bottleneck, ConceptSet, ConceptSettings, informed_by, train_bottleneck
from workbench.concepts.labels import chosen
from workbench.concepts.settings import Weights
from workbench.concepts.taught import Taught, taught
from workbench.concepts.training import last_site
from workbench.models import Head, Subject
from workbench.plots import Figure
from workbench.plots.compared import compared_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder
from workbench.statistics import Difference, Score, paired_difference
from workbench.studies.parts import Valued

WHOLE, INFORMING, RANDOM = "whole", "informing", "random"
ROWS = "deletions.jsonl"


class Settings(OfConcepts):
    """Concepts, how many are trained at once and on how many tokens, the share that is deleted, and the seeds."""

    group: int
    n_tokens: int
    share: float
    seeds: tuple[int, ...]


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Train, delete, train again; a group and seed that was done before a stop is kept."""
    subject, concepts = settings.subject, settings.concept_set
    texts = [taught(subject, concepts, part, last_site(subject)) for part in ("train", "val", "test")]
    cases = {
        f"concepts from {concepts.names[start]}, seed {seed}": partial(measured, settings, texts, start, seed)
        for start in range(0, len(concepts), settings.group)
        for seed in settings.seeds
    }
    rows = list(journalled(folder.path / ROWS, cases, "Deleting").values())
    fell = {kind: falls(rows, kind) for kind in (INFORMING, RANDOM)}
    found = paired_difference("fall of the concept's part", fell[RANDOM], fell[INFORMING], "mean")
    values = [
        *(_valued(f"without {kind} texts/test texts/fall", fell[kind]) for kind in fell),
        _valued("all texts/test texts/size", sizes(rows)),
    ]
    scores = [each.score for each in values]
    line = told(scores, found, settings)
    return Answer(line, drawn(scores, found), {"difference": found.model_dump(), "rows": rows}, values=tuple(values))


def _valued(name: str, values: Sequence[float]) -> Valued:
    return Valued(name=name, kind="mean", values=tuple(values))


def told(scores: Sequence[Score], found: Difference, settings: Settings) -> str:
    """How far the part falls, beside random texts."""
    informing, random, size = scores
    part, seeds = f"{100 * settings.share:g} %", ", ".join(map(str, settings.seeds))
    return (
        f"without the {part} of training texts that informed a concept most, its part in the logits of test texts "
        f"comes nearer to nothing by {informing} of {size.value:.3g}, without {part} of its group's at random by "
        f"{random}; difference {found.score}, p {found.p_value:.2g} (n={found.n} concepts, seeds {seeds})"
    )


def drawn(scores: Sequence[Score], found: Difference) -> Figure:
    """Both falls and their difference."""
    rows = ("without those that informed it", "without random ones", "difference")
    shown = {f"mean over {found.n} concepts": [*scores[:2], found.score]}
    return compared_figure(rows, shown, "How much nearer to nothing a concept's part comes (logits)", zero=True)


def falls(rows: Iterable[Row], kind: str) -> list[float]:
    """Of each concept, how much nearer to nothing its part has come; the mean over seeds."""
    return _means((name, float(np.sign(parts[WHOLE])) * (parts[WHOLE] - parts[kind])) for name, parts in _parts(rows))


def sizes(rows: Iterable[Row]) -> list[float]:
    """Of each concept, how large its part is with all texts; the mean over seeds."""
    return _means((name, abs(parts[WHOLE])) for name, parts in _parts(rows))


def _parts(rows: Iterable[Row]) -> Iterator[tuple[str, Mapping[str, float]]]:
    return ((concept, parts) for row in rows for concept, parts in row["parts"].items())


def _means(values: Iterable[tuple[str, float]]) -> list[float]:
    found: dict[str, list[float]] = {}
    for name, value in values:
        found.setdefault(name, []).append(value)
    return [float(np.mean(each)) for each in found.values()]


def measured(settings: Settings, texts: Sequence[Taught], start: int, seed: int) -> Row:
    """The parts of a group's concepts: with all texts, without the informing ones, and without random ones."""
    columns = slice(start, start + settings.group)
    group = chosen(settings.concept_set, settings.concept_set.names[columns])
    train, held, test = (of_group(each, columns) for each in texts)
    train_on = partial(trained, settings.subject, group, held=held, seed=seed)
    head, draws = Head.of(settings.subject), np.random.default_rng(seed)
    few = some(train, settings.n_tokens, draws)
    whole, n = train_on(few), round(settings.share * len(few))
    control = train_on(without(few, draws.choice(len(few), n, replace=False).tolist()))
    parts = {}
    for column, concept in enumerate(group.names):
        acts, weights = asked(head, test, column)
        part = part_of(whole, acts, weights, concept)
        scores = informed_by(whole, few, acts, weights, concept).by_gradient * float(np.sign(part))
        informing = train_on(without(few, scores.topk(n).indices.tolist()))
        left = {INFORMING: informing, RANDOM: control}
        parts[concept] = {WHOLE: part} | {kind: part_of(left[kind], acts, weights, concept) for kind in left}
    return {"seed": seed, "texts": len(few), "deleted": n, "parts": parts}


def of_group(texts: Taught, columns: slice) -> Taught:
    """The texts that are labelled for some of the group's concepts."""
    labelled = np.flatnonzero(~np.isnan(texts.labels[:, columns]).all(axis=1))
    return Taught(texts.corpus.picked(labelled.tolist()), texts.labels[labelled][:, columns])


def some(train: Taught, n_tokens: int, draws: np.random.Generator) -> Taught:
    """Texts drawn at random, of at most so many tokens together."""
    order, total, kept = draws.permutation(len(train)), 0, []
    for text in order.tolist():
        rows = train.corpus.rows(text)
        total += rows.stop - rows.start
        if total > n_tokens:
            break
        kept.append(text)
    return train.picked(kept)


def without(train: Taught, gone: Sequence[int]) -> Taught:
    """The texts but for some."""
    out = set(gone)
    return train.picked([text for text in range(len(train)) if text not in out])


def trained(subject: Subject, concepts: ConceptSet, train: Taught, held: Taught, seed: int) -> Bottleneck:
    """A small bottleneck of some texts."""
    how = ConceptSettings(discovered=64, k_discovered=16, epochs=6, seed=seed, weights=Weights(next_token=0))
    return train_bottleneck(subject, concepts, train, held, how).bottleneck


def asked(head: Head, test: Taught, column: int) -> tuple[Tensor, Tensor]:
    """The streams of test texts that show the concept, and what the logit of each following token reads of them."""
    corpus = test.corpus.picked(np.flatnonzero(test.labels[:, column] == 1).tolist())
    ends = corpus.following >= 0
    acts = corpus.acts[ends].float()
    rows = head.rows(corpus.following[ends]).float() - head.mean_row
    return acts, head.direct_rows(rows) / head.scale(acts)


def part_of(made: Bottleneck, acts: Tensor, weights: Tensor, concept: str) -> float:
    """The mean part of a concept in those logits."""
    reading = made(acts)
    column = made.index(concept)
    along = (weights @ made.vectors[column]) * reading.scale[:, 0]
    return float((reading.known_active.of(column) * along).mean())
