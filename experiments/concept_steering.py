"""Does amplifying a concept put it into what a model says, and more cheaply than a plain direction does?

    python -m experiments.concept_steering OUT RUN [MODEL [READER_MODEL]]      RUN: of `concepts train --site ...`

1. A reader that the bottleneck knows nothing of: for every concept a logistic regression on another model's mean
   activations over the concept set's training texts. It reads the replies.
2. Rival: the difference in means of the same training texts' activations at the same site, added (`Add`): those that
   show the concept less all others.
3. Concepts are drawn at random. On half of the neutral requests each method's strength is chosen: the largest rise of
   the concept where at most one reply in eight is broken. The concept's edit may cost no more KL (nats a token, on the
   plain replies) than the rival does at its choice. The other half of the requests is reported.
4. Of each: the rise of the concept's probability, the mean change of all other concepts' (in size), KL and repetition.

The site, the range of strengths and the rival's other texts were chosen with six other concepts (see the log).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workbench.concepts import AmplifyConcept, Bottleneck, ConceptSet, builtin_concepts
from workbench.concepts.corpus import capture_corpus
from workbench.concepts.taught import Taught, taught
from workbench.directions import Direction
from workbench.evaluation.metrics import Ground
from workbench.evaluation.metrics.divergence import Divergence
from workbench.evaluation.outcomes import is_broken
from workbench.generation import generate
from workbench.interventions import Add, Recipe
from workbench.models import Site, Subject, open_model
from workbench.prompts import Prompts
from workbench.runs import reporting, rich_reporter, track, write_json
from workbench.statistics import mean_score, paired_difference

CONCEPTS, SEED, TOKENS, MOST_BROKEN = 12, 0, 32, 1 / 8
STRENGTHS = (2.0, 3.0, 4.0, 6.0, 8.0)
CHOOSING, REPORTED = slice(0, 8), slice(8, 16)
REQUESTS = (
    "Describe a quiet morning in a small town.", "Write a few lines about a chair.",
    "Tell me something about bridges.", "What could one put on an empty shelf?",
    "Write a short note to a neighbour.", "Describe the room that you would like to work in.",
    "Say something about the number seven.", "Tell me about a walk through a forest.",
    "Write about what happens when it rains.", "Describe a train station at night.",
    "Tell me about a good cup of tea.", "Write a few lines about a lost glove.",
    "What does one see from a hill?", "Tell me something about clocks.",
    "Describe a visit to a market.", "Write about a door that will not open.",
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Steer by every concept, in both ways; one JSON file."""
    out, run = Path(arguments[0]), Path(arguments[1])
    usual = ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")
    names = (*arguments[2:], *usual[len(arguments) - 2 :])
    with rich_reporter() as reporter, reporting(reporter):
        concepts, made = builtin_concepts(), Bottleneck.load(run)
        reader = Reader.fitted(open_model(names[1]), concepts)
        asked = Asked(open_model(names[0]), made, reader, concepts)
        drawn = np.random.default_rng(SEED).choice(len(concepts), CONCEPTS, replace=False)
        rows = [row for concept in track(sorted(drawn.tolist()), "Steering") for row in asked.both(concept)]
    write_json(out, {"reader": reader.auroc, "rows": [vars(row) for row in rows]})
    for line in _said(rows, reader):
        sys.stdout.write(line + "\n")


@dataclass(frozen=True)
class Row:
    """What steering by a concept did to the replies that nothing was chosen on."""

    concept: str
    method: str
    strength: float
    rise: float  # of the concept's probability
    others: float  # mean over the other concepts of the change of their probability, in size
    kl: float
    broken: float
    before: float


@dataclass(frozen=True)
class Reader:
    """How likely each concept is in a text, as another model's activations say."""

    subject: Subject
    probes: list[Pipeline]
    auroc: float

    @classmethod
    def fitted(cls, subject: Subject, concepts: ConceptSet) -> "Reader":
        site = Site(subject.n_layers // 2, "resid_post")
        train, test = (taught(subject, concepts, part, site) for part in ("train", "test"))
        x, y = (texts.averaged(lambda x: x).numpy() for texts in (train, test))
        probes, found = [], []
        for column in range(len(concepts)):
            # Texts of other concepts count as not showing it: replies are of anything.
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced"))
            probes.append(probe.fit(x, np.nan_to_num(train.labels[:, column])))
            found.append(_auroc(probe.decision_function(y), test.labels[:, column]))
        return cls(subject, probes, float(np.mean(found)))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [text concept]."""
        site = Site(self.subject.n_layers // 2, "resid_post")
        whole = [text if len(text.split()) > 1 else f"{text} ... ..." for text in texts]
        corpus = capture_corpus(self.subject, whole, site)
        x = Taught(corpus, np.zeros((len(texts), 1), dtype=np.float32)).averaged(lambda x: x).numpy()
        return np.stack([probe.predict_proba(x)[:, 1] for probe in self.probes], axis=1)


@dataclass
class Asked:
    """Neutral requests, what is said to them plainly, and the same under an edit."""

    subject: Subject
    made: Bottleneck
    reader: Reader
    concepts: ConceptSet
    ground: Ground = field(init=False)
    plain: np.ndarray = field(init=False)
    means: torch.Tensor = field(init=False)
    train: Taught = field(init=False)

    def __post_init__(self) -> None:
        self.made.check_fits(self.subject)
        asked = Prompts.of(REQUESTS)
        self.ground = Ground(self.subject, {"neutral": asked}, max_new_tokens=TOKENS)
        self.plain = self.reader([reply.text for reply in self.ground.own_replies("neutral", TOKENS)])
        self.train = taught(self.subject, self.concepts, "train", self.made.site)
        acts = self.train.corpus
        self.means = torch.stack([acts.acts[acts.rows(text)].float().mean(dim=0) for text in range(len(acts))])

    def both(self, concept: int) -> Iterator[Row]:
        """Both methods, each at the strength that the first half of the requests chooses; the rival sets the budget."""
        handle, budget = self.made.concept(self.made.names[concept]), float("inf")
        edits = {"add": lambda s: Add(self._plain(concept), s), "amplify-concept": lambda s: AmplifyConcept(handle, s)}
        for method, edit in edits.items():
            tried = {s: self._under(concept, edit(s).at(self.made.site), CHOOSING) for s in STRENGTHS}
            sound = [s for s, found in tried.items() if found["kl"] <= budget and found["broken"] <= MOST_BROKEN]
            best = max(sound or [min(tried)], key=lambda s: tried[s]["rise"])
            budget = tried[best]["kl"]
            found = self._under(concept, edit(best).at(self.made.site), REPORTED)
            yield Row(self.made.names[concept], method, best, **found)

    def _under(self, concept: int, recipe: Recipe, half: slice) -> dict[str, float]:
        asked = Prompts.of(REQUESTS[half])
        texts = [reply.text for reply in generate(self.subject, asked, recipe, max_new_tokens=TOKENS)]
        change = (self.reader(texts) - self.plain[half]).mean(axis=0)
        kept = {f"own replies/neutral/{TOKENS}": self.ground.own_replies("neutral", TOKENS)[half]}
        ground = Ground(self.subject, {"neutral": asked}, max_new_tokens=TOKENS, memo=kept)
        items = Divergence(tokens=TOKENS, asked="neutral").observe(ground, recipe)
        return {
            "rise": float(change[concept]),
            "others": float(np.abs(np.delete(change, concept)).mean()),
            "kl": float(np.mean([np.mean(item.series["kl"]) for item in items])),
            "broken": float(np.mean([is_broken(text) for text in texts])),
            "before": float(self.plain[half, concept].mean()),
        }

    def _plain(self, concept: int) -> Direction:
        """The difference in means of the same training texts."""
        labels = torch.from_numpy(self.train.labels[:, concept]) == 1
        shown, other = self.means[labels], self.means[~labels]
        return Direction.from_raw(
            shown.mean(dim=0) - other.mean(dim=0), other.mean(dim=0), site=self.made.site, position=None,
            method="difference in means", model_name=self.made.model_name, model_digest=self.made.model_digest,
        )  # fmt: skip


def _auroc(decisions: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    known = ~np.isnan(labels)
    return float(roc_auc_score(labels[known], decisions[known]))


def _said(rows: Sequence[Row], reader: Reader) -> Iterator[str]:
    yield f"reader: AUROC against near misses {reader.auroc:.3f}"
    by = {method: [row for row in rows if row.method == method] for method in dict.fromkeys(r.method for r in rows)}
    for method, its in by.items():
        rise = mean_score("rise", [row.rise for row in its])
        share = float(np.mean([row.rise >= 0.4 for row in its]))
        rest = ", ".join(
            f"{name} {np.mean([getattr(r, name) for r in its]):.3f}" for name in ("others", "kl", "broken")
        )
        yield f"{method}: rise {rise.value:.2f} [{rise.low:.2f}, {rise.high:.2f}], {share:.0%} by 0.4; {rest}"
    values = [[row.rise for row in its] for its in by.values()]
    yield repr(paired_difference("rise, amplify-concept less add", values[0], values[1], "mean"))


if __name__ == "__main__":
    main(sys.argv[1:])
