"""The direction of other draws of the same prompts: how far two of them agree."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from workbench.directions import Direction
from workbench.directions.extraction import Extractor, extractors
from workbench.runs import note, track
from workbench.statistics import Score
from workbench.studies.identifiability.card import Point

SIZES = (8, 16, 32, 64, 128, 256)
RESAMPLES = 200  # pairs of bootstrap resamples
REPEATS = 40  # draws of two disjoint halves
PLAIN = "difference-in-means"


def extractor_of(direction: Direction) -> tuple[Extractor, str]:
    """The extractor that the direction is of, and its name; the plain one where it is of none."""
    if direction.method in extractors:
        return extractors[direction.method], direction.method
    note(f"{direction.method} needs more than activations; the card is of the {PLAIN} at its place.")
    return extractors[PLAIN], PLAIN


def unit_of(extract: Extractor, positive: Tensor, negative: Tensor) -> Float[Tensor, " d_model"]:
    """The unit direction from two sides' activations."""
    return normalize(extract(positive, negative).double(), dim=0)


def bootstrapped(
    name: str, extract: Extractor, positive: Tensor, negative: Tensor, generator: np.random.Generator
) -> Score:
    """The cosine between directions of two resamples: its mean, and where 95 % of the pairs lie."""

    def drawn(side: Tensor) -> Tensor:
        return side[generator.integers(0, len(side), len(side))]

    pairs = track(range(RESAMPLES), f"Resampling ({name})")
    return _spread(
        name, [float(unit_of(extract, drawn(positive), drawn(negative)) @
                     unit_of(extract, drawn(positive), drawn(negative))) for _ in pairs], len(positive)
    )  # fmt: skip


def _spread(name: str, values: Sequence[float], n: int) -> Score:
    low, high = np.quantile(values, [0.025, 0.975])
    return Score(name=name, value=float(np.mean(values)), low=float(low), high=float(high), n=n, better="higher")


def shuffled(positive: Tensor, negative: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The two sides, dealt out anew."""
    both = torch.cat([positive, negative])[generator.permutation(len(positive) + len(negative))]
    return both[: len(positive)], both[len(positive) :]


def curve(
    extract: Extractor, positive: Tensor, negative: Tensor, generator: np.random.Generator, method: str
) -> Iterator[Point]:
    """Two disjoint draws of n prompts a side, and their agreement."""
    for n in track(SIZES, "Drawing fewer prompts"):
        enough = 2 * n <= min(len(positive), len(negative))
        real = [_agreement(extract, positive, negative, n, generator) for _ in range(REPEATS if enough else 0)]
        chance = [
            _agreement(extract, *shuffled(positive, negative, generator), n, generator)
            for _ in range(REPEATS if enough else 0)
        ]
        yield Point(
            n=n,
            agreement=_spread("agreement", real, n) if enough else None,
            shuffled=_spread("shuffled labels", chance, n) if enough else None,
            expected=expected_agreement(positive, negative, n) if method == PLAIN else None,
        )


def _agreement(extract: Extractor, positive: Tensor, negative: Tensor, n: int, generator: np.random.Generator) -> float:
    ours, theirs = (generator.permutation(len(side))[: 2 * n] for side in (positive, negative))
    one, other = ((positive[ours[part]], negative[theirs[part]]) for part in (slice(0, n), slice(n, 2 * n)))
    return float(unit_of(extract, *one) @ unit_of(extract, *other))


def expected_agreement(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], n: int
) -> float | None:
    """The cosine between two differences in means of `n` other prompts a side; None where the classes are noise."""
    gap = positive.double().mean(dim=0) - negative.double().mean(dim=0)
    spread = [float(side.double().var(dim=0).sum()) for side in (positive, negative)]
    signal = float(gap @ gap) - spread[0] / len(positive) - spread[1] / len(negative)
    return signal / (signal + sum(spread) / n) if signal > 0 else None


def cosines_of(units: Float[Tensor, "variant d_model"]) -> tuple[tuple[float, ...], ...]:
    """The cosine of each with each."""
    return tuple(tuple(float(one @ other) for other in units) for one in units)
