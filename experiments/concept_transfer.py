"""Are a bottleneck's concepts read in texts of another source?

1. A text shows the concept that its file or category stands for, and not those of the others of its kind: topics among
   English sayings, languages among all, harms among requests. None was trained on. The labels are coarse: a joke about
   a cook is food.
2. Its score under the bottleneck, and under a bag of words that was fitted to the concept set's own training texts.
3. AUROC for each concept; as a control the same with labels dealt out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from experiments.bottlenecks import OfBottleneck
from experiments.experiment import Answer, Harmful
from experiments.journal import Row, journalled
from probes.linear.reading import auroc_draws, auroc_score, topic_draws
from workbench.concepts import ConceptSet
from workbench.concepts.corpus import capture_corpus
from workbench.concepts.taught import Taught
from workbench.errors import UsageError
from workbench.plots.compared import compared_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder, digest_file, digest_json
from workbench.statistics import Difference, Score, paired_difference
from workbench.studies.parts import Valued

READ, WORDS, DEALT = WAYS = ("bottleneck", "words", "labels dealt out")
LENGTHS = range(4, 80)  # words of a saying
ROWS = "concepts.jsonl"
ENGLISH = "english"  # no concept: what the other languages are told from
TOPICS = {
    "drugs": "drugs", "food": "cooking", "law": "law", "medicine": "medicine", "perl": "code", "pets": "animals",
    "politics": "politics", "riddles": "question", "science": "science", "songs-poems": "music", "sports": "sports",
    "wisdom": "advice", "disclaimer": "warning",
}  # fmt: skip
LANGUAGES = {"de/sprueche": "german", "es/refranes.fortunes": "spanish", "tang300": "chinese"}
HARMS = {
    "Harassment/Discrimination": "hate", "Malware/Hacking": "hacking", "Physical harm": "violence",
    "Economic harm": "finance", "Fraud/Deception": "fraud", "Disinformation": "disinformation", "Privacy": "privacy",
    "Government decision-making": "law", "Expert advice": "medicine",
}  # fmt: skip
Scores = Callable[[str, Sequence[str]], np.ndarray]


class Settings(OfBottleneck):
    """The bottleneck, texts of other sources, and how many sayings of each file are drawn."""

    fortunes: Path
    requests: Harmful
    n_sayings: int
    seed: int

    def digests(self) -> dict[str, str]:
        files = {file: self.fortunes / file for file in (*TOPICS, *LANGUAGES)}
        if lacking := [file for file, path in files.items() if not path.is_file()]:
            raise UsageError(f"{self.fortunes} has no file {lacking[0]}; give a folder with all fortunes.")
        return super().digests() | {"fortunes": digest_json({file: digest_file(path) for file, path in files.items()})}


@dataclass(frozen=True)
class Kind:
    """Texts that stand for concepts, of which each text shows one."""

    name: str
    texts: tuple[str, ...]
    shows: tuple[str, ...]

    def labels(self, concept: str) -> np.ndarray:
        return np.array([shown == concept for shown in self.shows])


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Read texts of other sources; a concept that was read before a stop is kept."""
    words = bags_of_words(settings.concept_set)
    kinds = (*sayings(settings.fortunes, settings.n_sayings, settings.seed), harms(prompts["requests"]))
    cases = {
        f"{read.kind.name}/{concept}": partial(compared, read, words, concept, dealt)
        for read in [Read(kind, settings) for kind in kinds]
        for concept, dealt in labels_dealt(read.kind, settings.seed)
    }
    rows = list(journalled(folder.path / ROWS, cases, "Reading concepts").values())
    values = valued(rows)
    read, plain = ([row[way]["value"] for row in rows] for way in (READ, WORDS))
    found = paired_difference("AUROC, bottleneck less words", plain, read, "mean")
    scores = {each.name: each.score for each in values}
    series = {way: [scores[f"{way}/{kind.name}/auroc"] for kind in kinds] for way in WAYS}
    return Answer(
        line=told(series, kinds, found),
        figure=compared_figure([_counted(*each) for each in zip(kinds, series[READ], strict=True)], series, "AUROC"),
        results={"difference": found.model_dump(), "rows": rows},
        values=values,
    )


def valued(rows: Sequence[Row]) -> tuple[Valued, ...]:
    """The AUROC of each way and kind, a value for each concept."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return tuple(
        Valued(
            name=f"{way}/{kind}/auroc", kind="mean",
            values=tuple(row[way]["value"] for row in rows if row["kind"] == kind),
        )
        for kind in kinds
        for way in WAYS
    )  # fmt: skip


def told(series: Mapping[str, Sequence[Score]], kinds: Iterable[Kind], found: Difference) -> str:
    """Mean AUROC of each kind, in each way."""
    said = [
        f"{_counted(kind, scores[0])}: " + ", ".join(f"{way} {each}" for way, each in zip(WAYS, scores, strict=True))
        for kind, *scores in zip(kinds, *(series[way] for way in WAYS), strict=True)
    ]
    return (
        f"mean AUROC over concepts in texts of other sources, {'; '.join(said)}; bottleneck less words {found.score}, "
        f"p {found.p_value:.2g} (n={found.n} concepts)"
    )


def _counted(kind: Kind, score: Score) -> str:
    return f"{kind.name} (n={score.n} concepts, {len(kind.texts)} texts)"


@dataclass(frozen=True)
class Read:
    """The texts of a kind as the bottleneck reads them; they are read where a score is asked for."""

    kind: Kind
    settings: Settings

    @cached_property
    def scores(self) -> np.ndarray:
        """Of each text for each known concept."""
        made = self.settings.made
        corpus = capture_corpus(self.settings.subject, self.kind.texts, made.site)
        return Taught(corpus, np.zeros((len(corpus), len(made.names)))).scored(made).double().numpy()

    def of(self, concept: str) -> np.ndarray:
        return self.scores[:, self.settings.made.index(concept)]


def labels_dealt(kind: Kind, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """The concepts of a kind, and the labels of each dealt out among the texts."""
    draws = np.random.default_rng(seed)
    for concept in sorted(set(kind.shows) - {ENGLISH}):
        yield concept, draws.permutation(kind.labels(concept))


def compared(read: Read, words: Scores, concept: str, dealt: np.ndarray) -> Row:
    """The AUROC of a concept in each way."""
    kind = read.kind
    labels, scores = kind.labels(concept), read.of(concept)
    found = {
        READ: auroc(READ, labels, scores),
        WORDS: auroc(WORDS, labels, words(concept, kind.texts)),
        DEALT: auroc(DEALT, dealt, scores),
    }
    about = {"kind": kind.name, "concept": concept, "n": int(labels.sum()), "others": int((~labels).sum())}
    return about | {way: score.model_dump() for way, score in found.items()}


def auroc(name: str, labels: np.ndarray, scores: np.ndarray) -> Score:
    """With an interval that draws texts."""
    drawn = auroc_draws(scores, labels, np.zeros(len(labels), dtype=int), topic_draws(np.arange(len(labels))))
    return auroc_score(name, drawn, labels)


def sayings(folder: Path, most: int, seed: int) -> Iterator[Kind]:
    """Topics among English sayings, and languages among sayings of all."""
    draws = np.random.default_rng(seed)

    def of(file: str) -> list[str]:
        found = re.split(r"\n%+\n", (folder / file).read_text(encoding="utf-8"))
        whole = [" ".join(text.split()) for text in found]
        # Chinese has no spaces between words.
        fit = sorted({text for text in whole if len(text.split()) in LENGTHS or file == "tang300"})
        return [str(text) for text in draws.permutation(fit)[:most]]

    english = {file: of(file) for file in TOPICS}
    foreign = {file: of(file) for file in LANGUAGES}
    yield _kind("topics", [(text, TOPICS[file]) for file, texts in english.items() for text in texts])
    others = [(text, ENGLISH) for texts in english.values() for text in texts[:10]]
    yield _kind("languages", [*((t, LANGUAGES[file]) for file, texts in foreign.items() for t in texts), *others])


def harms(requests: Prompts) -> Kind:
    """Categories of harm among requests."""
    return _kind("harms", [(each.text, HARMS[each.category]) for each in requests if each.category in HARMS])


def _kind(name: str, rows: Sequence[tuple[str, str]]) -> Kind:
    return Kind(name, tuple(text for text, _ in rows), tuple(shown for _, shown in rows))


def bags_of_words(concepts: ConceptSet) -> Scores:
    """How much the words of some texts are those of a concept's training texts, against all other training texts."""
    rows = concepts.part("train")

    def scores(concept: str, texts: Sequence[str]) -> np.ndarray:
        shown = np.nan_to_num(rows.labels[:, concepts.names.index(concept)])
        words = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4), max_features=40_000)
        fitted = make_pipeline(words, LogisticRegression(C=10.0, class_weight="balanced", max_iter=500))
        found: np.ndarray = fitted.fit(rows.texts, shown).decision_function(texts)
        return found

    return scores
