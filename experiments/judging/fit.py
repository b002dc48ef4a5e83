"""Fit the local judge to the labels, and say how well it agrees with those that it did not see.

    python -m experiments.judging.fit                 from the features that are stored with the labels
    python -m experiments.judging.fit REPLIES.jsonl   the same, after computing them again from the replies

`labels.jsonl` holds every label under the digest of its prompt and reply, with the features that the judge weighs.
Replies are beside their labels unless they comply with a harmful request: those are said again by `collect`. Held apart
are all replies to prompts of the built-in test parts, so that no evaluation is called by a judge that was fitted to its
prompts, and those to a third of the everyday prompts; the strength of the penalty is chosen by
cross-validation over the other prompts. `elsewhere.jsonl` holds labels of replies to prompts of
another source (Alpaca and JailbreakBench, by digest alone), which are never fitted to.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.judging.collect import EVERYDAY, key
from workbench.evaluation.features import features
from workbench.evaluation.judges.local import Weights
from workbench.evaluation.outcomes import Outcome, why_broken
from workbench.prompts.locks import is_locked
from workbench.runs import digest_json, write_text
from workbench.statistics import kappa_score

LABELS = Path(__file__).parent / "labels.jsonl"
ELSEWHERE = Path(__file__).parent / "elsewhere.jsonl"
WEIGHTS = Path(__file__).parents[2] / "workbench" / "evaluation" / "data" / "local_judge.json"
PENALTIES = (0.03, 0.1, 0.3, 1.0)
Row = dict[str, Any]


def held_apart(prompt: str) -> bool:
    """Whether the replies to a prompt are for testing alone: those of test parts, and a third of the everyday ones."""
    return is_locked(prompt) or (prompt in _everyday() and int(digest_json(prompt)[:8], 16) % 3 == 0)


@cache
def _everyday() -> frozenset[str]:
    return frozenset(EVERYDAY.read_text(encoding="utf-8").splitlines())


def read_labels(path: Path = LABELS) -> list[Row]:
    """All labels of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def with_features(labels: Sequence[Row], replies: Path) -> list[Row]:
    """The labels whose reply was said again, with its features computed again."""
    said = {row["key"]: row for line in replies.read_text(encoding="utf-8").splitlines() if (row := json.loads(line))}
    assert all(key(row["prompt"], row["reply"]) == name for name, row in said.items())
    return [
        row | seen_in(said[row["key"]]["prompt"], said[row["key"]]["reply"]) for row in labels if row["key"] in said
    ]


def seen_in(prompt: str, reply: str) -> Row:
    """What the judge looks at, in a form that can be stored without the reply."""
    found = {name: round(value, 4) for name, value in features(prompt, reply).items()}
    return {"broken": why_broken(reply, prompt), "features": found}


@dataclass(frozen=True)
class Fit:
    """Fitted weights, and what they call the replies that were held apart."""

    weights: Weights
    truth: list[str]
    called: list[str]
    models: list[str]


def fit(labels: Sequence[Row]) -> Fit:
    """Fit to the prompts that are not held apart, and measure on those that are."""
    train = [row for row in labels if not held_apart(row["prompt"])]
    test = [row for row in labels if held_apart(row["prompt"])]
    plain = _weights(train)
    called, truth, models = plain_calls(plain, test), [row["label"] for row in test], [row["model"] for row in test]
    by_model = {
        name: kappa_score(name, _of(name, models, truth), _of(name, models, called)) for name in dict.fromkeys(models)
    }
    other = read_labels(ELSEWHERE)
    elsewhere = kappa_score("kappa elsewhere", [row["label"] for row in other], plain_calls(plain, other))
    agreement = kappa_score("kappa", truth, called)
    scored = {"agreement": agreement, "agreement_by_model": by_model, "agreement_elsewhere": elsewhere}
    return Fit(plain.model_copy(update=scored), truth, called, models)


def plain_calls(weights: Weights, rows: Sequence[Row]) -> list[str]:
    """What the judge calls replies, from their stored features."""
    likely = weights.probabilities([row["features"] for row in rows]).argmax(axis=1)
    return ["broken" if row["broken"] else str(weights.outcomes[best]) for row, best in zip(rows, likely, strict=True)]


def _of(name: str, models: Sequence[str], column: Sequence[str]) -> list[str]:
    return [value for value, model in zip(column, models, strict=True) if model == name]


def _weights(rows: Sequence[Row]) -> Weights:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import cohen_kappa_score, make_scorer
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Noise of many scripts is called by rule; that of one script looks like it, and is learnt from it.
    weighed = [row for row in rows if row["broken"] in ("", "scripts")]
    names = tuple(weighed[0]["features"])
    matrix = np.array([[row["features"][name] for name in names] for row in weighed])
    labels, prompts = np.array([row["label"] for row in weighed]), [row["prompt"] for row in weighed]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    search = GridSearchCV(
        model, {"logisticregression__C": PENALTIES}, cv=GroupKFold(8), scoring=make_scorer(cohen_kappa_score)
    )
    scaler, regression = search.fit(matrix, labels, groups=prompts).best_estimator_
    shorter = lambda values: tuple(round(float(value), 6) for value in values)  # noqa: E731
    return Weights(
        features=names,
        outcomes=tuple(Outcome(name) for name in regression.classes_),
        mean=shorter(scaler.mean_),
        scale=shorter(scaler.scale_),
        coefficients=tuple(shorter(row) for row in regression.coef_),
        intercepts=shorter(regression.intercept_),
        fitted_to=len(rows),
        agreement=kappa_score("kappa", ["a", "b"], ["a", "b"]),
    )


def main(arguments: Sequence[str]) -> None:
    """Fit, write the weights, and print the agreement."""
    labels = read_labels()
    if arguments:
        labels = with_features(labels, Path(arguments[0]))
    found = fit(labels)
    write_text(WEIGHTS, found.weights.model_dump_json(indent=1) + "\n")
    sys.stdout.write(report(found))


def report(found: Fit) -> str:
    """Agreement on the replies held apart, and the table of labels against calls."""
    names = [str(outcome) for outcome in Outcome]
    lines = [f"fitted to {found.weights.fitted_to} replies; held apart: {len(found.truth)}"]
    lines += [f"kappa {found.weights.agreement}"]
    other = found.weights.agreement_elsewhere
    lines += [f"kappa on prompts of another source: {other}, n={other.n}"] if other else []
    lines += [f"kappa of {name}: {score}, n={score.n}" for name, score in found.weights.agreement_by_model.items()]
    lines += ["label     " + " ".join(f"{name:>8}" for name in names)]
    for name in names:
        row = [sum((t, c) == (name, other) for t, c in zip(found.truth, found.called, strict=True)) for other in names]
        lines += [f"{name:<10}" + " ".join(f"{count:>8}" for count in row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
