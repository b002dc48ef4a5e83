"""Concepts whose truth is known: texts of random streams with planted vectors, and tiny sets of texts."""

import numpy as np
import torch

from workbench.concepts import Bottleneck, Concept, ConceptSet
from workbench.concepts.corpus import Corpus
from workbench.concepts.taught import Taught
from workbench.models import Site, Subject

WORDS = ("rain", "wind", "stone", "bread", "lamp", "river", "wool", "paper", "iron", "glass", "moss", "clay")


def planted(subject: Subject, n_texts: int, seed: int, n_concepts: int = 3, size: float = 3.0) -> Taught:
    """Texts of 12 tokens; half of them are labelled for one concept each, whose vector half of its tokens then hold."""
    draws = torch.Generator().manual_seed(seed)
    vectors = torch.eye(subject.d_model)[:n_concepts] * size * subject.d_model**0.5 / 4
    acts = torch.randn(n_texts, 12, subject.d_model, generator=draws)
    labels = np.full((n_texts, n_concepts), np.nan, dtype=np.float32)
    for text in range(n_texts):
        concept, shown = text % n_concepts, text // n_concepts % 2
        labels[text, concept] = shown
        if shown:
            acts[text, torch.randperm(12, generator=draws)[:6]] += vectors[concept]
    starts = tuple(range(0, 12 * n_texts + 1, 12))
    following = torch.randint(0, 64, (12 * n_texts,), generator=draws)
    site = Site(subject.n_layers - 1, "resid_post")
    return Taught(Corpus(acts.flatten(0, 1), following, following, starts, site), labels)


def a_set(n_concepts: int = 3, n: int = 12) -> ConceptSet:
    """Small texts: a concept is one word among others."""
    draws = np.random.default_rng(0)

    def text(word: str | None) -> str:
        said = [*list(draws.choice(WORDS[6:], 4)), str(draws.integers(10000))]
        return " ".join([*said[:2], word or "none", *said[2:]])

    return ConceptSet(
        "words",
        tuple(
            Concept(
                name=word, description=f"It says {word}.",
                positive=tuple(text(word) for _ in range(n)), near_miss=tuple(text(None) for _ in range(n)),
            )
            for word in WORDS[:n_concepts]
        ),
    )  # fmt: skip


def a_bottleneck(subject: Subject, site: Site | None = None, seed: int = 0, n: int = 4, m: int = 9) -> Bottleneck:
    """A random one."""
    draws = torch.Generator().manual_seed(seed)
    width = subject.d_model

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws)

    return Bottleneck(
        readers=drawn(n, width), reader_bias=drawn(n), vectors=drawn(n, width), encoder=drawn(m, width),
        encoder_bias=drawn(m), decoder=drawn(m, width), centre=drawn(width), typical=drawn(n).abs() + 0.1,
        level=drawn(n), calibration=torch.ones(n, 2), names=tuple("abcdefgh"[:n]), k_known=2, k_discovered=3,
        site=site or Site(subject.n_layers - 1, "resid_post"), model_name=subject.name, model_digest=subject.digest,
    )  # fmt: skip
