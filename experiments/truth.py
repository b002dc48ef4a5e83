"""Does the model know what is true, does it say so, and does what it says follow the direction of truth?

    python -m experiments.truth statements OUT TRUTHFULQA [MODEL]       and then items, reports, choices in its place

1. `statements`: the direction of truth of our own statements, measured on topics left out; what a direction fitted to
   "is" alone reads of "is not"; and the model's own answer to whether each is true (`probes.truth`).
2. `items`: the same direction on questions of TruthfulQA, of a file in one of its published layouts.
3. `reports`: the difference in means of one half of the topics is added while the model is asked. Block and strength
   are those of the largest rise of log-odds(Yes) on that half; the other half is reported, also with the sign turned.
4. `choices`: the difference in means of all statements is added while the answers of TruthfulQA are read. Block and
   strength are chosen on questions that no other part reads; test questions are reported.

All below OUT; activations are kept there, and the parts after the first read what it found.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from probes.linear import Probe, ProbeSettings
from probes.truth import (
    Moved,
    Push,
    Statements,
    builtin_statements,
    chosen_push,
    mean_directions,
    polarity,
    pushed,
    read_items,
    reports,
    self_report,
    truth_direction,
)
from probes.truth.direction import LAST, after_blocks
from probes.truth.items import answer_logprobs, measure
from workbench.activations import Activations, ActivationStore, capture
from workbench.evaluation.truthful import TruthfulQuestion, read_truthful
from workbench.interventions import Recipe
from workbench.models import Site, Subject, open_model
from workbench.prompts import Prompts
from workbench.runs import reporting, rich_reporter, write_figure, write_json

N_TEST, N_CHOICES, N_CHOOSING = 300, 120, 40
DEPTHS = (0.25, 0.375, 0.5, 0.625, 0.75)
SIGNED = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)
PROBE = "truth.safetensors"


def main(arguments: Sequence[str]) -> None:
    """One part; its JSON and figures below OUT."""
    part, out, file = arguments[0], Path(arguments[1]), Path(arguments[2])
    name = arguments[3] if len(arguments) > 3 else "qwen2.5-coder-0.5b-instruct"
    questions = read_truthful(file)
    with rich_reporter() as reporter, reporting(reporter):
        found = PARTS[part](open_model(name), out, questions)
    write_json(out / f"{part}.json", found)
    sys.stdout.write("\n".join(str(found["says"]).splitlines()) + "\n")


def on_statements(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """The direction, polarity, and the self-report."""
    statements, store = builtin_statements(), ActivationStore(out / "activations")
    truth = truth_direction(subject, statements, settings=ProbeSettings(inner_folds=3), store=store)
    truth.probe.save(out / PROBE)
    turned = polarity(read(subject, statements, out), statements)
    report = self_report(statements, reports(subject, statements.texts), truth.decisions)
    write_figure(out / "truth.html", truth.plot())
    write_figure(out / "polarity.html", turned.plot())
    write_figure(out / "report.html", report.plot())
    report.to_pandas().to_csv(out / "statements.csv", index=False)
    says = "\n".join(map(repr, (truth, turned, report)))
    return {"says": says, "truth": truth.to_json(), "polarity": turned.to_json(), "report": report.to_json()}


def on_items(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """What the direction tells of the answers of test questions."""
    probe, statements = Probe.load(out / PROBE), builtin_statements()
    x = read(subject, statements, out).at(probe.site, LAST).double().numpy()
    found = read_items(subject, drawn(questions)[:N_TEST], probe.direction(), signed_by=(x, statements.true))
    write_figure(out / "items.html", found.plot())
    found.to_pandas().to_csv(out / "items.csv", index=False)
    return found.to_json()


def on_reports(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """Whether what the model says of statements follows the direction."""
    every = builtin_statements()
    fitted, apart = every.of_topics(every.topics[::2]), every.of_topics(every.topics[1::2]).where(denies=False)
    inside = np.isin([each.topic for each in every], fitted.topics)
    acts = read(subject, every, out)
    directions = mean_directions(acts, every.true & inside, ~every.true & inside, subject, blocks(subject))
    push, table = chosen_push(yes(subject, fitted.where(denies=False)), directions)
    parts = []
    for name, way in (("plus", push), ("minus", replace(push, strength=-push.strength))):
        moved = pushed(f"log-odds of Yes, {name}", subject, yes(subject, apart), way, apart.plain())
        parts += [moved, *(moved.of(apart.true == kind, f"of {kind} ones, {name}".lower()) for kind in (True, False))]
    return described(parts, table)


def on_choices(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """Whether the answers that the model finds likeliest follow the direction."""
    statements, order = builtin_statements(), drawn(questions)
    acts = read(subject, statements, out)
    directions = mean_directions(acts, statements.true, ~statements.true, subject, blocks(subject)[1:4])
    push, table = chosen_push(ordered(subject, order[N_TEST : N_TEST + N_CHOOSING]), directions, SIGNED)
    asked = order[:N_CHOICES]
    prompts = Prompts.of([question.question for question in asked])
    return described([pushed("true above false", subject, ordered(subject, asked), push, prompts)], table)


def yes(subject: Subject, statements: Statements) -> Callable[[Recipe], Float64[np.ndarray, " n"]]:
    """The log-odds of Yes to each statement under a recipe."""
    return lambda recipe: reports(subject, statements.texts, recipe)


def ordered(
    subject: Subject, questions: Sequence[TruthfulQuestion]
) -> Callable[[Recipe], Float64[np.ndarray, " n"]]:  # fmt: skip
    """How rightly a question's answers are ordered by their mean log-probability under a recipe."""

    def measured(recipe: Recipe) -> Float64[np.ndarray, " n"]:
        found = answer_logprobs(subject, questions, recipe)
        means = [[float(np.mean(tokens)) for tokens in answers] for answers in found]
        return np.array([measure("pairwise", q, each) for q, each in zip(questions, means, strict=True)])

    return measured


def read(subject: Subject, statements: Statements, out: Path) -> Activations:
    """The stream after every second block at each statement's full stop, captured once."""
    store = ActivationStore(out / "activations")
    return capture(subject, statements.said(), sites=after_blocks(subject), positions=[LAST], store=store)


def blocks(subject: Subject) -> list[Site]:
    places = after_blocks(subject)
    return [places[round(depth * len(places)) - 1] for depth in DEPTHS]


def drawn(questions: Sequence[TruthfulQuestion]) -> list[TruthfulQuestion]:
    """The questions in an order of their own: the first are tested, those after them choose."""
    return [questions[row] for row in np.random.default_rng(0).permutation(len(questions))]


def described(moved: Sequence[Moved], table: Sequence[Push]) -> dict[str, Any]:
    says = "\n".join(map(repr, (*moved, *table)))
    return {"says": says, "moved": [each.to_json() for each in moved], "table": [repr(push) for push in table]}


PARTS = {"statements": on_statements, "items": on_items, "reports": on_reports, "choices": on_choices}

if __name__ == "__main__":
    main(sys.argv[1:])
