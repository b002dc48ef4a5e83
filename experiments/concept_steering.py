"""Steering by concept beside a plain direction: success, side effects, damage.

    python -m experiments.concept_steering OUT BOTTLENECK [MODEL] [READER]

1. A reader that was not trained with the module: logistic regressions on another model's mean activations.
2. For each concept and strength, replies to neutral requests with the concept amplified; and with the difference in
   means of the same training texts added at a middle layer. Each one's strength is chosen on half of the requests.
3. On the other half: the rise of the concept by the reader, the mean rise of the others, and the KL from the plain
   model over the positions of its replies.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from workbench.activations import ActivationStore
from workbench.concepts import AmplifyConcept, Bottleneck, builtin_concepts
from workbench.concepts.corpus import capture_corpus
from workbench.concepts.recording import taught
from workbench.concepts.training import Taught
from workbench.directions import Direction
from workbench.generation import generate, kl_divergence
from workbench.interventions import Add, Recipe, steered
from workbench.models import Site, Subject, open_model, token_rows
from workbench.prompts import Prompts
from workbench.runs import note, reporting, rich_reporter, write_json
from workbench.statistics import mean_score

REQUESTS = (
    "Tell me about your day.", "Write a few sentences about a river.", "Describe a room.", "What is a good morning?",
    "Say something about bread.", "Write a short note to a neighbour.", "Talk about the evening.", "Describe a bridge.",
)  # fmt: skip
STRENGTHS = {"bottleneck": (2.0, 4.0, 8.0), "direction": (0.5, 1.0, 2.0)}
TOKENS, SEED = 32, 0


def main(arguments: Sequence[str]) -> None:
    """Read, steer, judge; one JSON file."""
    out, made = Path(arguments[0]), Bottleneck.load(Path(arguments[1]))
    name, other = (*arguments[2:], *("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")[len(arguments) - 2 :])[:2]
    with rich_reporter() as reporter, reporting(reporter):
        reader = Reader(open_model(other))
        note(f"The reader's mean AUROC is {reader.auroc:.3f}.")
        subject = open_model(name)
        recipes = {"bottleneck": _amplified(made), "direction": _directions(subject, made.names)}
        found = {method: _measured(subject, reader, made.names, each) for method, each in recipes.items()}
    write_json(out, {"reader": {"model": other, "auroc": reader.auroc}, "methods": found})
    for method, rows in found.items():
        sys.stdout.write(f"{method}: " + "; ".join(f"{key} {value}" for key, value in _summary(rows).items()) + "\n")


class Reader:
    """Logistic regressions on another model's activations, averaged over a text; unlabelled texts count as without."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.site = subject, Site(subject.n_layers // 2, "resid_post")
        concepts = builtin_concepts()
        train, test = (taught(subject, concepts, part, self.site) for part in ("train", "test"))
        means = self._means(train)
        self.centre, self.spread = means.mean(axis=0), means.std(axis=0) + 1e-6
        x = (means - self.centre) / self.spread
        self.models = []
        for column in range(len(concepts)):
            truth = train.labels[:, column]
            weight = np.where(np.isnan(truth), 0.1, 1.0)
            fitted = LogisticRegression(C=1e-3, max_iter=300, class_weight="balanced")
            self.models.append(fitted.fit(x, np.nan_to_num(truth), sample_weight=weight))
        self.auroc = self._auroc(test)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each text shows each concept, as a probability [text concept]; empty replies show none."""
        whole = [text if len(text.split()) > 1 else "An empty reply." for text in texts]
        corpus = capture_corpus(self.subject, whole, self.site, store=ActivationStore.default())
        unlabelled = np.full((len(whole), len(self.models)), np.nan, dtype=np.float32)
        x = (self._means(Taught(corpus, unlabelled)) - self.centre) / self.spread
        return np.stack([model.predict_proba(x)[:, 1] for model in self.models], axis=1)

    def _means(self, texts: Taught) -> np.ndarray:
        return torch.cat([lesson.averaged(lesson.x) for lesson in texts.lessons(256)]).double().numpy()

    def _auroc(self, test: Taught) -> float:
        x = (self._means(test) - self.centre) / self.spread
        found = []
        for column, model in enumerate(self.models):
            known = ~np.isnan(test.labels[:, column])
            found.append(roc_auc_score(test.labels[known, column], model.decision_function(x[known])))
        return float(np.mean(found))


def _amplified(made: Bottleneck) -> dict[str, list[Recipe]]:
    return {
        name: [AmplifyConcept(made.concept(name), by).at(made.site, "generated") for by in STRENGTHS["bottleneck"]]
        for name in made.names
    }


def _directions(subject: Subject, names: Sequence[str]) -> dict[str, list[Recipe]]:
    """The difference in means of the training texts at a middle layer, added there to every token of the reply."""
    site = Site(subject.n_layers * 2 // 3, "resid_pre")
    train = taught(subject, builtin_concepts(), "train", site)
    means = torch.cat([_plain_means(train, start) for start in range(0, len(train), 256)])
    found = {}
    for column, name in enumerate(names):
        sides = [means[train.labels[:, column] == value].mean(dim=0) for value in (1, 0)]
        gap = sides[0] - sides[1]
        made = Direction.from_raw(
            gap, sides[1], scale=float(gap.norm()), site=site, position=-1, method="difference-in-means",
            model_name=subject.name, model_digest=subject.digest,
        )  # fmt: skip
        found[name] = [Add(made, by).at(str(site), "generated") for by in STRENGTHS["direction"]]
    return found


def _plain_means(train: Taught, start: int) -> torch.Tensor:
    rows = range(start, min(start + 256, len(train)))
    return torch.stack([train.corpus.acts[train.corpus.rows(row)].float().mean(dim=0) for row in rows])


def _measured(
    subject: Subject, reader: Reader, names: Sequence[str], recipes: Mapping[str, Sequence[Recipe]]
) -> list[dict[str, Any]]:
    """Each concept's figures on the second half of the requests, at the strength that did best on the first."""
    half = len(REQUESTS) // 2
    parts = [Prompts.of(REQUESTS[:half]), Prompts.of(REQUESTS[half:])]
    plain = [reader([reply.text for reply in generate(subject, part, max_new_tokens=TOKENS)]) for part in parts]
    levels = len(next(iter(recipes.values())))
    tuned = [_shown(subject, reader, parts[0], [recipes[name][level] for name in names]) for level in range(levels)]
    rises = np.stack([[each[i, :, i].mean() for i in range(len(names))] for each in tuned])
    best = rises.argmax(axis=0)
    chosen = [recipes[name][best[i]] for i, name in enumerate(names)]
    shown = _shown(subject, reader, parts[1], chosen)
    rows = []
    for i, name in enumerate(names):
        rise = (shown[i] > 0.5).mean(axis=0) - (plain[1] > 0.5).mean(axis=0)
        rows.append(
            {
                "concept": name, "level": int(best[i]), "own": float(rise[i]),
                "others": float(np.delete(rise, i).mean()), "others_size": float(np.abs(np.delete(rise, i)).mean()),
                "kl": _kl(subject, chosen[i], parts[1]),
            }
        )  # fmt: skip
    return rows


def _shown(subject: Subject, reader: Reader, requests: Prompts, recipes: Sequence[Recipe]) -> np.ndarray:
    """[recipe request concept]"""
    prompts = Prompts.of([prompt.text for _ in recipes for prompt in requests])
    each = [recipe for recipe in recipes for _ in requests]
    replies = generate(subject, prompts, each, max_new_tokens=TOKENS)
    return reader([reply.text for reply in replies]).reshape(len(recipes), len(requests), -1)


def _kl(subject: Subject, recipe: Recipe, requests: Prompts) -> float:
    """Mean KL over the positions of the plain replies, in nats."""
    found = []
    for row, reply in zip(
        token_rows(subject, requests), generate(subject, requests, max_new_tokens=TOKENS), strict=True
    ):
        batch = replace(subject.batch([[*row, *reply.tokens[:-1]]]), prompt_lengths=torch.tensor([len(row)]))
        plain = subject.logits(batch, last=len(reply.tokens) - 1)
        with steered(subject, recipe):
            moved = subject.logits(batch, last=len(reply.tokens) - 1)
        found.append(float(kl_divergence(plain[0], moved[0]).mean()))
    return float(np.mean(found))


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    own = [row["own"] for row in rows]
    return {
        "own concept": f"{mean_score('own', own).format('.2f')}",
        "share with 40 points or more": f"{np.mean([value >= 0.4 for value in own]):.2f}",
        "others": f"{np.mean([row['others'] for row in rows]):+.3f}",
        "KL": f"{np.mean([row['kl'] for row in rows]):.2f} (median {np.median([row['kl'] for row in rows]):.2f})",
    }


if __name__ == "__main__":
    main(sys.argv[1:])
