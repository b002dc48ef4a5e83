"""Does amplifying a concept put it into what a model says, and more cheaply than a plain direction does?

1. A reader that the bottleneck knows nothing of: for every concept a logistic regression on another model's mean
   activations over the concept set's training texts. It reads the replies.
2. Rival: the difference in means of the same training texts' activations at the same site, added (`Add`): those that
   show the concept less all others.
3. Concepts are drawn at random. On half of the neutral requests each method's strength is chosen: the largest rise of
   the concept where at most one reply in eight is broken. The concept's edit may cost no more KL (nats a token, on the
   plain replies) than the rival does at its choice. The other half of the requests is reported.
4. Of each: the rise of the concept's probability, the mean change of all other concepts' (in size), KL and broken
   replies.

The site, the range of strengths and the rival's other texts were chosen with six other concepts (see the log).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch

from experiments.bottlenecks import OfBottleneck
from experiments.concept_reader import Reader
from experiments.experiment import Answer
from experiments.journal import Row, journalled
from workbench.concepts import AmplifyConcept
from workbench.concepts.taught import Taught, taught
from workbench.directions import Direction
from workbench.evaluation.metrics import Ground
from workbench.evaluation.metrics.divergence import Divergence
from workbench.evaluation.outcomes import is_broken
from workbench.generation import generate
from workbench.interventions import Add, Recipe
from workbench.models import Subject, open_model
from workbench.plots import Figure
from workbench.plots.compared import compared_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder, digest_json
from workbench.statistics import Difference, Score, paired_difference
from workbench.studies.parts import Valued

MOST_BROKEN, AIM = 1 / 8, 0.4
ADD, AMPLIFY = "add", "amplify-concept"
MEASURES = ("rise", "others", "kl", "broken")
CHOOSING, REPORTED = slice(0, 8), slice(8, 16)
ROWS = "steering.jsonl"
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


class Settings(OfBottleneck):
    """The bottleneck, the model that reads replies, how many concepts are drawn, and the strengths that are tried."""

    reader_model: str
    n_concepts: int
    seed: int
    strengths: tuple[float, ...]
    max_new_tokens: int

    @cached_property
    def reading(self) -> Subject:
        """The model that reads replies, opened once."""
        return open_model(self.reader_model, dtype=self.dtype)

    def identity(self) -> dict[str, str]:
        return super().identity() | {"reader": digest_json(self.reading.identity)}


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """Steer by every concept that is drawn, in both ways; a concept that was done before a stop is kept."""
    concepts = settings.concept_set
    reader = Reader.fitted(settings.reading, concepts)
    asked = Asked(settings, reader)
    drawn = np.random.default_rng(settings.seed).choice(len(concepts), settings.n_concepts, replace=False)
    cases = {concepts.names[concept]: partial(asked.both, concept) for concept in sorted(drawn.tolist())}
    rows = list(journalled(folder.path / ROWS, cases, "Steering").values())
    plain, amplified = ([float(row[method]["rise"]) for row in rows] for method in (ADD, AMPLIFY))
    found = paired_difference("rise, amplify-concept less add", plain, amplified, "mean")
    auroc = Valued(name="reader/test texts/auroc", kind="mean", values=reader.aurocs)
    values = (*(each for method in (ADD, AMPLIFY) for each in valued(rows, method)), auroc)
    scores = {each.name: each.score for each in values}
    results = {"difference": found.model_dump(), "rows": rows}
    return Answer(told(scores, found), shown(scores), results, values=values)


def valued(rows: Iterable[Row], method: str) -> Iterator[Valued]:
    """What a method does, a value for each concept."""
    kept = [row[method] for row in rows]
    for measure in MEASURES:
        name = f"{method}/neutral requests/{measure}"
        yield Valued(name=name, kind="mean", values=tuple(float(each[measure]) for each in kept))
    reached = tuple(float(each["rise"] >= AIM) for each in kept)
    yield Valued(name=f"{method}/neutral requests/rise of {AIM} or more", kind="rate", values=reached)


def told(scores: Mapping[str, Score], found: Difference) -> str:
    """What each way does to the concept, to the others and to the model."""

    def said(method: str) -> str:
        mine = {name.rsplit("/", 1)[1]: score for name, score in scores.items() if name.startswith(f"{method}/")}
        reached = mine[f"rise of {AIM} or more"]
        return (
            f"{method} raises it by {mine['rise']} ({AIM} or more: {reached.percent}), the others by "
            f"{mine['others'].value:.3f} in size, KL {mine['kl'].value:.2f}, broken {mine['broken'].percent}"
        )

    auroc = scores["reader/test texts/auroc"]
    return (
        f"a concept's probability in replies to neutral requests: {said(AMPLIFY)}; {said(ADD)} (a plain direction); "
        f"difference {found.score}, p {found.p_value:.2g} (n={found.n} concepts); the reader's AUROC against "
        f"near misses {auroc} (n={auroc.n})"
    )


def shown(scores: Mapping[str, Score]) -> Figure:
    """Both ways side by side: the concept's rise, the others' change, and broken replies."""
    rows = {"rise": "rise of the concept", "others": "change of the others, in size", "broken": "broken replies"}
    series = {method: [scores[f"{method}/neutral requests/{row}"] for row in rows] for method in (AMPLIFY, ADD)}
    n = scores[f"{ADD}/neutral requests/rise"].n
    return compared_figure(
        list(rows.values()), series, f"Percentage points, mean over n={n} concepts", percent=True, zero=True
    )


def strongest(tried: Mapping[float, Mapping[str, float]], budget: float) -> float:
    """The strength with the largest rise within the budget of KL and of broken replies; where there is none, the
    least."""
    sound = [s for s, found in tried.items() if found["kl"] <= budget and found["broken"] <= MOST_BROKEN]
    return max(sound or [min(tried)], key=lambda strength: tried[strength]["rise"])


@dataclass
class Asked:
    """Neutral requests, what is said to them plainly, and the same under an edit."""

    settings: Settings
    reader: Reader
    ground: Ground = field(init=False)
    plain: np.ndarray = field(init=False)
    means: torch.Tensor = field(init=False)
    train: Taught = field(init=False)

    def __post_init__(self) -> None:
        settings, n = self.settings, self.settings.max_new_tokens
        self.ground = Ground(settings.subject, {"neutral": Prompts.of(REQUESTS)}, max_new_tokens=n)
        self.plain = self.reader([reply.text for reply in self.ground.own_replies("neutral", n)])
        self.train = taught(settings.subject, settings.concept_set, "train", settings.made.site)
        acts = self.train.corpus
        self.means = torch.stack([acts.acts[acts.rows(text)].float().mean(dim=0) for text in range(len(acts))])

    def both(self, concept: int) -> Row:
        """Both methods, each at the strength that the first half of the requests chooses; the rival sets the budget."""
        made, direction, budget, row = self.settings.made, self.direction(concept), float("inf"), {}
        handle = made.concept(self.settings.concept_set.names[concept])
        edits = {ADD: lambda s: Add(direction, s), AMPLIFY: lambda s: AmplifyConcept(handle, s)}
        for method, edit in edits.items():
            tried = {s: self.under(concept, edit(s).at(made.site), CHOOSING) for s in self.settings.strengths}
            best = strongest(tried, budget)
            budget = tried[best]["kl"]
            row[method] = {"strength": best} | self.under(concept, edit(best).at(made.site), REPORTED)
        return row

    def under(self, concept: int, recipe: Recipe, half: slice) -> dict[str, float]:
        """What half of the requests are answered with under an edit."""
        asked, n = Prompts.of(REQUESTS[half]), self.settings.max_new_tokens
        texts = [reply.text for reply in generate(self.settings.subject, asked, recipe, max_new_tokens=n)]
        change = (self.reader(texts) - self.plain[half]).mean(axis=0)
        kept = {f"own replies/neutral/{n}": self.ground.own_replies("neutral", n)[half]}
        ground = Ground(self.settings.subject, {"neutral": asked}, max_new_tokens=n, memo=kept)
        items = Divergence(tokens=n, asked="neutral").observe(ground, recipe)
        return {
            "rise": float(change[concept]),
            "others": float(np.abs(np.delete(change, concept)).mean()),
            "kl": float(np.mean([np.mean(item.series["kl"]) for item in items])),
            "broken": float(np.mean([is_broken(text) for text in texts])),
            "before": float(self.plain[half, concept].mean()),
        }

    def direction(self, concept: int) -> Direction:
        """The difference in means of the same training texts."""
        labels, made = torch.from_numpy(self.train.labels[:, concept]) == 1, self.settings.made
        shown, other = self.means[labels].mean(dim=0), self.means[~labels].mean(dim=0)
        return Direction.from_raw(
            shown - other, other, site=made.site, position=None, method="difference in means",
            model_name=made.model_name, model_digest=made.model_digest,
        )  # fmt: skip
