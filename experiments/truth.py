"""Does the model know what is true, does it say so, and does what it says follow the direction of truth?

    python -m experiments.truth read OUT TRUTHFULQA [MODEL]    and then statements, items, reports, choices in its place

1. `read`: our own statements, read after every second block, how likely each is, and the model's own answer to whether
   it is true. This and `reports` in float32: a logit of bfloat16 comes in eighths, and many differences are smaller.
2. `statements`, which needs no model: the direction of truth, measured on topics left out; what a direction fitted to
   "is" alone reads of "is not"; what is known and not said (`probes.truth`).
3. `items`: the same direction on questions of TruthfulQA, of a file in one of its published layouts.
4. `reports`: the difference in means of one half of the topics is added while the model is asked. Block and strength
   are those of the largest rise of log-odds(Yes) on that half; the other half is reported, also with the sign turned.
5. `choices`: the difference in means of all statements is added while the answers of TruthfulQA are read. Block and
   strength are chosen on questions that no other part reads; test questions are reported.

All below OUT.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from safetensors import safe_open
from safetensors.numpy import save_file

from probes.linear import Probe, ProbeSettings
from probes.linear.surface import Surface
from probes.truth import (
    Moved,
    Push,
    Statements,
    builtin_statements,
    chosen_push,
    fitted_truth,
    mean_directions,
    polarity,
    pushed,
    read_items,
    reports,
    self_report,
)
from probes.truth.direction import LAST, after_blocks, log_probabilities
from probes.truth.items import answer_logprobs, measure
from workbench.activations import Activations, capture
from workbench.activations.activations import Chunk
from workbench.evaluation.truthful import TruthfulQuestion, read_truthful
from workbench.interventions import Recipe
from workbench.models import Site, Subject, open_model
from workbench.prompts import Prompts
from workbench.runs import reporting, rich_reporter, write_figure, write_json, writing

N_TEST, N_CHOICES, N_CHOOSING = 150, 100, 24
DEPTHS = (0.25, 0.375, 0.5, 0.625, 0.75)
STRENGTHS = (8.0, 16.0, 32.0)  # a gap of truth is a hundredth of the stream's length
SIGNED = (-32.0, -16.0, 16.0, 32.0)
DTYPES = {"read": "float32", "reports": "float32"}
PROBE, READ = "truth.safetensors", "read.safetensors"


def main(arguments: Sequence[str]) -> None:
    """One part; its JSON and figures below OUT."""
    part, out, file = arguments[0], Path(arguments[1]), Path(arguments[2])
    name = arguments[3] if len(arguments) > 3 else "qwen2.5-coder-0.5b-instruct"
    questions = read_truthful(file)
    with rich_reporter() as reporter, reporting(reporter):
        if part == "statements":
            found = on_statements(out)
        else:
            found = PARTS[part](open_model(name, dtype=DTYPES.get(part)), out, questions)
    write_json(out / f"{part}.json", found)
    sys.stdout.write("\n".join(str(found["says"]).splitlines()) + "\n")


@dataclass(frozen=True, eq=False)
class Read:
    """What a model makes of the built-in statements."""

    acts: Activations
    surface: Surface
    likelihood: Float64[np.ndarray, " n"]
    odds: Float64[np.ndarray, " n"]
    model_name: str

    def save(self, out: Path) -> None:
        tensors = {"likelihood": self.likelihood, "odds": self.odds, "lengths": self.surface.lengths}
        tensors |= {"first": self.surface.first, "values": self.acts.values.numpy()}
        about = {
            "model": self.model_name,
            "digest": self.acts.model_digest,
            "sites": " ".join(map(str, self.acts.sites)),
        }
        with writing(out / READ) as draft:
            save_file(tensors, draft, about)

    @classmethod
    def load(cls, out: Path) -> "Read":
        statements = builtin_statements()
        with safe_open(out / READ, framework="np") as file:
            about, held = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        chunk = Chunk(tuple(range(len(statements))), torch.from_numpy(held["values"]))
        sites, said = tuple(map(Site.parse, about["sites"].split())), statements.said()
        labels, digests = tuple(prompt.label for prompt in said), tuple(prompt.digest for prompt in said)
        acts = Activations((chunk,), sites, (LAST,), labels, digests, about["digest"])
        surface = Surface(np.array(statements.texts, dtype=object), held["lengths"], held["first"])
        return cls(acts, surface, held["likelihood"], held["odds"], about["model"])


def read(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """Keep all that `statements` needs of the model."""
    statements = builtin_statements()
    acts = capture(subject, statements.said(), sites=after_blocks(subject), positions=[LAST])
    likely, odds = log_probabilities(subject, statements.texts), reports(subject, statements.texts)
    Read(acts, Surface.of(subject, statements.plain()), likely, odds, subject.name).save(out)
    return {"says": f"{len(statements)} statements are in {READ}.", "model": subject.identity}


def on_statements(out: Path) -> dict[str, Any]:
    """The direction, polarity, and the self-report."""
    statements, found = builtin_statements(), Read.load(out)
    how = ProbeSettings(inner_folds=3)
    truth = fitted_truth(found.acts, statements, found.surface, found.likelihood, found.model_name, settings=how)
    truth.probe.save(out / PROBE)
    turned = polarity(found.acts, statements)
    report = self_report(statements, found.odds, truth.decisions)
    for name, result in (("truth", truth), ("polarity", turned), ("report", report)):
        write_figure(out / f"{name}.html", result.plot())
    report.to_pandas().assign(likelihood=found.likelihood).to_csv(out / "statements.csv", index=False)
    says = "\n".join(map(repr, (truth, turned, report)))
    return {"says": says, "truth": truth.to_json(), "polarity": turned.to_json(), "report": report.to_json()}


def on_items(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """What the direction tells of the answers of test questions."""
    probe, statements = Probe.load(out / PROBE), builtin_statements()
    x = Read.load(out).acts.at(probe.site, LAST).double().numpy()
    found = read_items(subject, drawn(questions)[:N_TEST], probe.direction(), signed_by=(x, statements.true))
    write_figure(out / "items.html", found.plot())
    found.to_pandas().to_csv(out / "items.csv", index=False)
    return found.to_json()


def on_reports(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """Whether what the model says of statements follows the direction."""
    every = builtin_statements()
    fitted, apart = every.of_topics(every.topics[::2]), every.of_topics(every.topics[1::2]).where(denies=False)
    inside = np.isin([each.topic for each in every], fitted.topics)
    acts = Read.load(out).acts
    directions = mean_directions(acts, every.true & inside, ~every.true & inside, subject, blocks(subject))
    push, table = chosen_push(yes(subject, fitted.where(denies=False)), directions, STRENGTHS)
    parts = []
    for name, way in (("plus", push), ("minus", replace(push, strength=-push.strength))):
        moved = pushed(f"log-odds of Yes, {name}", subject, yes(subject, apart), way, apart.plain())
        parts += [moved, *(moved.of(apart.true == kind, f"of {kind} ones, {name}".lower()) for kind in (True, False))]
    return described(parts, table)


def on_choices(subject: Subject, out: Path, questions: Sequence[TruthfulQuestion]) -> dict[str, Any]:
    """Whether the answers that the model finds likeliest follow the direction."""
    statements, order = builtin_statements(), drawn(questions)
    acts = Read.load(out).acts
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


def blocks(subject: Subject) -> list[Site]:
    places = after_blocks(subject)
    return [places[round(depth * len(places)) - 1] for depth in DEPTHS]


def drawn(questions: Sequence[TruthfulQuestion]) -> list[TruthfulQuestion]:
    """The questions in an order of their own: the first are tested, those after them choose."""
    return [questions[row] for row in np.random.default_rng(0).permutation(len(questions))]


def described(moved: Sequence[Moved], table: Sequence[Push]) -> dict[str, Any]:
    says = "\n".join(map(repr, (*moved, *table)))
    return {"says": says, "moved": [each.to_json() for each in moved], "table": [repr(push) for push in table]}


PARTS = {"read": read, "items": on_items, "reports": on_reports, "choices": on_choices}

if __name__ == "__main__":
    main(sys.argv[1:])
