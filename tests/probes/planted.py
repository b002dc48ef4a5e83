"""Synthetic activations with a line planted in them, and prompts of as many topics."""

import numpy as np
import torch

from probes.linear import Examples
from probes.linear.surface import Surface
from workbench.models import Site

D, TOPICS, EACH = 16, 20, 60
N = TOPICS * EACH
POSITIVE = np.arange(N) % 2 == 0
GROUPS = np.repeat(np.arange(TOPICS), EACH)
LINE = np.zeros(D)  # along three features, so that a sparse probe's assumption holds too
LINE[[2, 9, 13]] = np.array([2.0, -1.0, 2.0]) / 3


def points(gap: float, seed: int = 0, line: np.ndarray = LINE) -> np.ndarray:
    """Round noise of variance 1, far off the origin; the positive class lies `gap` further along the line."""
    noise = np.random.default_rng(seed).normal(size=(N, D)) + 7.0
    return noise + gap * POSITIVE[:, None] * line


def surface(texts: list[str] | None = None) -> Surface:
    """Words, lengths and first tokens that say nothing of the class, unless texts are given."""
    random = np.random.default_rng(5)
    said = texts or [" ".join(random.choice(["red", "blue", "tall", "small", "old"], 6)) for _ in range(N)]
    return Surface(np.array(said, dtype=object), random.integers(4, 40, N), random.integers(0, 9, N))


def planted(gap: float, seed: int = 0, x: np.ndarray | None = None, shown: Surface | None = None) -> Examples:
    seen = frozenset(map(str, range(N)))
    site, values = Site(1, "resid_post"), points(gap, seed) if x is None else x
    return Examples(values, POSITIVE, GROUPS, shown or surface(), site, -1, "planted", "digest", seen)


def acts(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).float()
