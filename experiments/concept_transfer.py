"""Are a bottleneck's concepts read in texts of another source?

    python -m experiments.concept_transfer OUT RUN FORTUNES PROMPTS [MODEL]

FORTUNES is a folder of fortune files, sayings filed by topic and language (Debian's packages fortunes, fortunes-de, -es
and -zh install them); PROMPTS a .jsonl file of requests with JailbreakBench's categories. None was trained on.

1. A text shows the concept that its file or category stands for, and not those of the others of its kind: topics among
   English sayings, languages among all, harms among requests. The labels are coarse: a joke about a cook is food.
2. Its score under the bottleneck, and under a bag of words that was fitted to the concept set's own training texts.
3. AUROC for each concept; as a control the same with labels dealt out.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from workbench.concepts import Bottleneck, builtin_concepts
from workbench.concepts.corpus import capture_corpus
from workbench.concepts.taught import Taught
from workbench.models import open_model
from workbench.prompts import load_prompts
from workbench.runs import reporting, rich_reporter, write_json
from workbench.statistics import mean_score, paired_difference

MOST, WORDS, SEED = 60, range(4, 80), 0
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


@dataclass(frozen=True)
class Kind:
    """Texts that stand for concepts, of which each text shows one."""

    name: str
    texts: tuple[str, ...]
    shows: tuple[str, ...]

    def labels(self, concept: str) -> np.ndarray:
        return np.array([shown == concept for shown in self.shows])


def main(arguments: Sequence[str]) -> None:
    """Read texts of other sources; one JSON file."""
    out, run, fortunes, prompts = (Path(each) for each in arguments[:4])
    name = arguments[4] if len(arguments) > 4 else "qwen2.5-coder-0.5b-instruct"
    with rich_reporter() as reporter, reporting(reporter):
        made, words = Bottleneck.load(run), bags_of_words()
        subject = open_model(name)
        made.check_fits(subject)
        rows = []
        for kind in (*sayings(fortunes), harms(prompts)):
            corpus = capture_corpus(subject, kind.texts, made.site)
            scores = Taught(corpus, np.zeros((len(corpus), len(made.names)))).scored(made).numpy()
            rows += list(compared(kind, lambda c, s=scores: s[:, made.index(c)], words))  # type: ignore[misc]
    write_json(out, {"rows": rows})
    for line in said(rows):
        sys.stdout.write(line + "\n")


def sayings(folder: Path) -> Iterator[Kind]:
    """Topics among English sayings, and languages among sayings of all."""
    draws = np.random.default_rng(SEED)

    def of(file: str) -> list[str]:
        found = re.split(r"\n%+\n", (folder / file).read_text(encoding="utf-8"))
        whole = [" ".join(text.split()) for text in found]
        fit = sorted({text for text in whole if len(text.split()) in WORDS or file == "tang300"})
        return list(draws.permutation(fit)[:MOST])

    english = {file: of(file) for file in TOPICS}
    foreign = {file: of(file) for file in LANGUAGES}
    yield _kind("topics", [(text, TOPICS[file]) for file, texts in english.items() for text in texts])
    others = [(text, "english") for texts in english.values() for text in texts[:10]]
    yield _kind("languages", [*((t, LANGUAGES[file]) for file, texts in foreign.items() for t in texts), *others])


def harms(path: Path) -> Kind:
    """Categories of harm among requests."""
    asked = [(prompt.text, HARMS[prompt.category]) for prompt in load_prompts(str(path)) if prompt.category in HARMS]
    return _kind("harms", asked)


def _kind(name: str, rows: Sequence[tuple[str, str]]) -> Kind:
    return Kind(name, tuple(text for text, _ in rows), tuple(shown for _, shown in rows))


def bags_of_words() -> Callable[[str, Sequence[str]], np.ndarray]:
    """How much the words of some texts are those of a concept's training texts, against all other training texts."""
    concepts = builtin_concepts()
    rows = concepts.part("train")

    def scores(concept: str, texts: Sequence[str]) -> np.ndarray:
        shown = np.nan_to_num(rows.labels[:, concepts.names.index(concept)])
        words = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4), max_features=40_000)
        fitted = make_pipeline(words, LogisticRegression(C=10.0, class_weight="balanced", max_iter=500))
        found: np.ndarray = fitted.fit(rows.texts, shown).decision_function(texts)
        return found

    return scores


def compared(
    kind: Kind, read: Callable[[str], np.ndarray], words: Callable[[str, Sequence[str]], np.ndarray]
) -> Iterator[dict[str, object]]:
    """A row for each concept of a kind."""
    draws = np.random.default_rng(SEED)
    for concept in sorted(set(kind.shows) - {"english"}):
        labels, scores = kind.labels(concept), read(concept)
        yield {
            "kind": kind.name,
            "concept": concept,
            "bottleneck": float(roc_auc_score(labels, scores)),
            "words": float(roc_auc_score(labels, words(concept, kind.texts))),
            "labels dealt out": float(roc_auc_score(draws.permutation(labels), scores)),
            "n": int(labels.sum()),
            "others": int((~labels).sum()),
        }


def said(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """The table, and means over concepts."""
    ways = ("bottleneck", "words", "labels dealt out")
    for row in rows:
        values = ", ".join(f"{way} {row[way]:.3f}" for way in ways)
        yield f"{row['kind']} / {row['concept']}: {values} ({row['n']} against {row['others']})"
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        yield f"{kind}: " + ", ".join(repr(mean_score(way, [float(str(row[way])) for row in mine])) for way in ways)
    read, words = ([float(str(row[way])) for row in rows] for way in ways[:2])
    yield repr(paired_difference("AUROC, bottleneck less words", words, read, "mean"))


if __name__ == "__main__":
    main(sys.argv[1:])
