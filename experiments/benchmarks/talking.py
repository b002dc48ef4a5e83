"""Decoding a fixed number of tokens, our way and the plain way, for the benchmarks of generation and steering."""

from collections.abc import Callable

import torch

from experiments.benchmarks.plain import plain_model
from workbench.directions import Direction, random_unit
from workbench.generation import generate
from workbench.interventions import Recipe
from workbench.models import Site, Subject, token_rows
from workbench.prompts import Prompts

NEW_TOKENS = 32
_TOPICS = ("rivers", "bread", "clocks", "forests", "bridges", "paper", "music", "salt", "ships", "gardens",
           "glass", "maps", "mountains", "tea", "wool", "comets")  # fmt: skip


def asked(n: int) -> Prompts:
    """Prompts whose replies are longer than what is decoded."""
    return Prompts.of([f"Write a long essay about the history of {topic}." for topic in _TOPICS[:n]])


def ours(subject: Subject, n: int, recipe: Recipe | None = None) -> Callable[[], object]:
    """Decode `n` replies with `generate`."""

    def run() -> None:
        replies = generate(subject, asked(n), recipe, max_new_tokens=NEW_TOKENS, batch_size=n)
        if any(len(reply.tokens) != NEW_TOKENS for reply in replies):
            raise RuntimeError("A reply ended before it was measured.")

    return run


def random_direction(subject: Subject, seed: int = 0) -> Direction:
    """A direction that means nothing: what an edit costs does not depend on what it removes."""
    first = torch.zeros(subject.d_model)
    first[0] = 1.0
    return Direction(
        unit=random_unit(first, seed), origin=0.0, scale=1.0, site=Site(0, "resid_pre"), position=None,
        method="random", model_name=subject.name, model_digest=subject.digest,
    )  # fmt: skip


def theirs(subject: Subject, n: int, attention: str) -> Callable[[], object]:
    """Decode as many tokens with `generate` of transformers."""
    plain = plain_model(subject)
    plain.set_attn_implementation(attention)
    batch = subject.batch(token_rows(subject, asked(n)))
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
    still = dict.fromkeys(("temperature", "top_p", "top_k", "repetition_penalty"))

    def run() -> None:
        with torch.inference_mode():
            plain.generate(batch.ids, attention_mask=batch.attention.long(), pad_token_id=subject.pad_token,
                           **options, **still)  # fmt: skip

    return run
