"""Statements of made-up topics, and activations in which truth and polarity are planted."""

import numpy as np
import torch

from probes.linear.surface import Surface
from probes.truth.statements import Statements, Topic, statements_of
from workbench.activations import Activations
from workbench.activations.activations import Chunk
from workbench.models import Site, Subject
from workbench.models.chat import encode

D, SITES, TOPICS, FACTS = 16, 3, 8, 12
TRUTH, POLARITY = np.eye(D)[:2]
ANIMALS = ["cat", "dog", "fox", "hen", "cow", "ant", "bee", "owl", "rat", "bat", "emu", "elk"]


def made_statements(topics: int = TOPICS) -> Statements:
    """Topics of which no word is another's, so that each is a fold of its own."""
    return statements_of(
        Topic(
            name=f"topic {n}", says=f"A{n} {{}} b{n} c{n} d{n} {{}}.", denies=f"A{n} {{}} b{n} not d{n} {{}}.", shift=5,
            facts=tuple((f"{animal}{n}", f"{animal[::-1]}{n}") for animal in ANIMALS[:FACTS]),
        )
        for n in range(topics)
    )  # fmt: skip


def planted(
    statements: Statements, truth: float, turning: float = 0.0, site: int = 1, seed: int = 0
) -> Activations:  # fmt: skip
    """Noise off the origin at every site; at one, truth lies along one axis and truth times polarity along another."""
    n = len(statements)
    values = np.random.default_rng(seed).normal(size=(n, 1, SITES, D)) + 5.0
    sign = 2.0 * statements.true - 1
    values[:, 0, site] += truth / 2 * sign[:, None] * TRUTH
    values[:, 0, site] += turning / 2 * (sign * (1 - 2 * statements.denies))[:, None] * POLARITY
    sites = tuple(Site(layer, "resid_post") for layer in range(SITES))
    digests = tuple(prompt.digest for prompt in statements.said())
    chunk = Chunk(tuple(range(n)), torch.from_numpy(values).float())
    return Activations((chunk,), sites, (-1,), (None,) * n, digests, "digest")


def shown(statements: Statements) -> Surface:
    """The sentences, and lengths and first tokens that say nothing."""
    random = np.random.default_rng(3)
    n = len(statements)
    return Surface(np.array(statements.texts, dtype=object), random.integers(5, 12, n), random.integers(0, 4, n))


def slow_odds(subject: Subject, rows: list[int]) -> float:
    """The log-odds of Yes against No after the tokens: spelling by spelling, each over the whole text."""
    yes, no = (sum(_slow_likelihood(subject, rows, form) for form in forms) for forms in (FORMS["yes"], FORMS["no"]))
    return float(np.log(yes / no))


FORMS = {word: (word, word.capitalize(), f" {word}", f" {word.capitalize()}") for word in ("yes", "no")}


def _slow_likelihood(subject: Subject, rows: list[int], form: str) -> float:
    said = encode(subject, form)
    likely = subject.logits(subject.batch([[*rows, *said]]))[0, len(rows) - 1 : -1].double().log_softmax(dim=-1)
    return float(likely[range(len(said)), said].sum().exp())
