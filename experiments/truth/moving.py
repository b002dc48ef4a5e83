"""Whether what the model says, and which answer it finds likeliest, follow the direction of truth when it is added."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from experiments.truth.reading import Read
from probes.truth import Moved, Push, Statements, builtin_statements, chosen_push, mean_directions, pushed, reports
from probes.truth.direction import after_blocks
from probes.truth.items import answer_logprobs, measure
from probes.truth.moving import Measured
from workbench.evaluation.truthful import TruthfulQuestion
from workbench.interventions import Recipe
from workbench.models import Site, Subject
from workbench.prompts import Prompts
from workbench.studies.parts import Valued

DEPTHS = (0.25, 0.375, 0.5, 0.625, 0.75)


def on_reports(subject: Subject, out: Path, strengths: Sequence[float]) -> dict[str, Any]:
    """Whether what the model says of statements follows the direction."""
    every = builtin_statements()
    fitted, apart = every.of_topics(every.topics[::2]), every.of_topics(every.topics[1::2]).where(denies=False)
    inside = np.isin([each.topic for each in every], fitted.topics)
    acts = Read.load(out).acts
    directions = mean_directions(acts, every.true & inside, ~every.true & inside, subject, blocks(subject))
    push, table = chosen_push(yes(subject, fitted.where(denies=False)), directions, strengths)
    parts = []
    for name, way in (("plus", push), ("minus", replace(push, strength=-push.strength))):
        asked = f"log-odds of Yes, {name}"
        moved = pushed(f"statements/{asked}", subject, yes(subject, apart), way, apart.plain())
        kinds = {"true": apart.true, "false": ~apart.true}
        parts += [moved, *(moved.of(rows, f"{kind} statements/{asked}") for kind, rows in kinds.items())]
    return described(parts, table)


def on_choices(
    subject: Subject, out: Path, asked: Sequence[TruthfulQuestion], choosing: Sequence[TruthfulQuestion],
    strengths: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    """Whether the answers that the model finds likeliest follow the direction."""
    statements = builtin_statements()
    acts = Read.load(out).acts
    directions = mean_directions(acts, statements.true, ~statements.true, subject, blocks(subject)[1:4])
    push, table = chosen_push(ordered(subject, choosing), directions, strengths)
    prompts = Prompts.of([question.question for question in asked])
    moved = pushed("questions/true above false", subject, ordered(subject, asked), push, prompts)
    return described([moved], table)


def yes(subject: Subject, statements: Statements) -> Measured:
    """The log-odds of Yes to each statement under a recipe."""
    return lambda recipe: reports(subject, statements.texts, recipe)


def ordered(subject: Subject, questions: Sequence[TruthfulQuestion]) -> Measured:
    """How rightly a question's answers are ordered by their mean log-probability under a recipe."""

    def measured(recipe: Recipe) -> Float64[np.ndarray, " n"]:
        found = answer_logprobs(subject, questions, recipe)
        means = [[float(np.mean(tokens)) for tokens in answers] for answers in found]
        return np.array([measure("pairwise", q, each) for q, each in zip(questions, means, strict=True)])

    return measured


def blocks(subject: Subject) -> list[Site]:
    """The stream at each of the depths."""
    places = after_blocks(subject)
    return [places[round(depth * len(places)) - 1] for depth in DEPTHS]


def described(moved: Sequence[Moved], table: Sequence[Push]) -> dict[str, Any]:
    """As plain values."""
    values = [
        Valued(name=f"{condition}/{each.name}", kind="mean", values=tuple(values)).model_dump()
        for each in moved
        for condition, values in each.values.items()
    ]
    return {"moved": [each.to_json() for each in moved], "table": [repr(push) for push in table], "values": values}
