"""How far float32 itself leaves a model's logits open.

Two ways to compute one edit add up the same products in another order. What that does to the logits depends on the
model: a few streams have a token whose activation is a thousand times as long as the others' (massive activations, Sun
et al. 2024), and its rounding is as much larger. So it is measured: every number that a writer writes is moved to a
neighbour, or not, at random, and the logits move by about as much as another order of summing would move them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.models import Site, Subject, writers


@contextmanager
def rounded_anew(subject: Subject, seed: int = 0) -> Iterator[None]:
    """Each number that is written to the residual stream goes one or two units in its last place up, down, or stays."""
    draws = torch.Generator().manual_seed(seed)
    eps = torch.finfo(subject.dtype).eps

    def rounded(acts: Float[Tensor, "batch pos d_model"], hook: object) -> Float[Tensor, "batch pos d_model"]:
        drawn = torch.randint(-1, 2, acts.shape, generator=draws)
        return acts * (1 + eps * drawn).to(acts)

    sites = [Site(writer.layer, writer.component) for writer in writers(subject) if writer.component != "pos_embed"]
    with subject.hooked([(site, rounded) for site in dict.fromkeys(sites)]):
        yield
