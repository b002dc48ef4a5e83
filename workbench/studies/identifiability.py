"""How sure is a direction? A card of what it would have been with other prompts, other sets and other templates.

1. Bootstrap: the cosine between directions from two resamples of the prompts, beside the same with shuffled labels.
2. Size: the cosine between directions from two disjoint halves of n prompts a side each, for n = 8, 16, ...; beside
   it what the noise of the activations leads to expect, |d|^2 / (|d|^2 + tr S+ / n + tr S- / n) for a difference in
   means, with |d|^2 freed of its own noise.
3. Transfer: the cosines between the directions of other prompt sets and system prompts, and how far each of them
   lowers the refusal metric when it is ablated, on the same prompts, which none of them was found with.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from workbench.activations import ActivationStore, capture
from workbench.directions import Direction
from workbench.directions.extraction import Extractor, extractors
from workbench.display import Shown
from workbench.errors import SearchError
from workbench.evaluation.refusal import metric_of
from workbench.interventions import Ablate, Recipe, random_control
from workbench.models import Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, note, track, writing
from workbench.search.cones import Effect
from workbench.statistics import Score, mean_score

if TYPE_CHECKING:
    import pandas

    from workbench.plots import Figure

SIZES = (8, 16, 32, 64, 128, 256)
RESAMPLES = 200  # pairs of bootstrap resamples
REPEATS = 40  # draws of two disjoint halves
TEMPLATES: Mapping[str, str | None] = {
    "own system prompt": None,
    "short system prompt": "You are a helpful assistant.",
    "terse system prompt": "Answer in one sentence.",
}
PLAIN = "difference-in-means"
VARIANTS, EFFECTS = "variants.safetensors", "effects.jsonl"


class Point(BaseModel):
    """Directions from `n` prompts a side: their agreement, and what the noise leads to expect."""

    model_config = ConfigDict(frozen=True)

    n: int
    agreement: Score | None  # None where there are not twice as many prompts
    shuffled: Score | None
    expected: float | None


class Card(BaseModel, Shown):
    """What is known of how sure the direction at one place is."""

    model_config = ConfigDict(frozen=True)

    place: str
    method: str
    n: tuple[int, int]  # prompts of each side
    found: float  # cosine between the direction as it was found and this card's, of all prompts
    bootstrap: Score
    shuffled: Score
    curve: tuple[Point, ...]
    names: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]
    bypass: tuple[Score, ...]  # of each name, of no edit, and of a matched random direction

    def __repr__(self) -> str:
        return f"Card({self.place}, {self.method}, bootstrap cosine {self.bootstrap})"

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a number of prompts: how far two directions from so many agree."""
        import pandas

        return pandas.json_normalize([point.model_dump() for point in self.curve])

    def plot(self) -> "Figure":
        """Agreement by n, transfer, and the effect of every direction."""
        from workbench.plots import identifiability_figure

        measured = [(point.n, point.agreement, point.shuffled) for point in self.curve]
        expected = [(point.n, point.expected) for point in self.curve if point.expected is not None]
        return identifiability_figure(measured, expected, self.names, self.cosines, self.bypass)


def identify(
    subject: Subject,
    direction: Direction,
    sets: Mapping[str, ContrastPairs],
    validation: Prompts,
    tokens: Sequence[int],
    *,
    batch_size: int = 32,
    seed: int = 0,
    folder: RunFolder | None = None,
) -> Card:
    """The card of `direction`'s place; the first of `sets` is resampled, and all of them are compared.

    `validation` are positive prompts that nothing here was found with, and `tokens` begin a refusal. With a `folder`,
    the directions and what each of them did to each prompt are written down, for the card to be derived from again.
    """
    direction.check_fits(subject)
    extract, method = _extractor(direction)
    variants = dict(_variants(subject, direction, sets, batch_size))
    (positive, negative), *_ = variants.values()
    units = {name: _unit(extract, *sides) for name, sides in variants.items()}
    directions = {name: replace(direction, unit=unit.float(), method=method) for name, unit in units.items()}
    effects = list(_effects(subject, directions, validation, tokens, batch_size, seed, folder))
    if folder is not None:
        with writing(folder.path / VARIANTS) as draft:
            save_file({"units": torch.stack(list(units.values()))}, draft)
    generator = np.random.default_rng(seed)
    return Card(
        place=f"{direction.site}, position {direction.position}",
        method=method,
        n=(len(positive), len(negative)),
        found=float(direction.unit.double() @ next(iter(units.values()))),
        bootstrap=_bootstrap("bootstrap", extract, positive, negative, generator),
        shuffled=_bootstrap("shuffled labels", extract, *_shuffled(positive, negative, generator), generator),
        curve=tuple(_curve(extract, positive, negative, generator, method)),
        names=tuple(variants),
        cosines=cosines_of(torch.stack(list(units.values()))),
        bypass=tuple(_score(effect) for effect in effects),
    )


def _extractor(direction: Direction) -> tuple[Extractor, str]:
    if direction.method in extractors:
        return extractors[direction.method], direction.method
    note(f"{direction.method} needs more than activations; the card is of the {PLAIN} at its place.")
    return extractors[PLAIN], PLAIN


def _variants(
    subject: Subject, direction: Direction, sets: Mapping[str, ContrastPairs], batch_size: int
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Activations at the place of both sides of every set under every template."""
    store = ActivationStore.default()
    positions: Any = "mean" if direction.position is None else (direction.position,)
    for name, pairs in sets.items():
        for template, system in TEMPLATES.items():
            sides = (
                capture(
                    subject, side if system is None else side.changed(system=system), sites=[direction.site],
                    positions=positions, batch_size=batch_size, store=store,
                ).at(direction.site, direction.position)
                for side in (pairs.positive, pairs.negative)
            )  # fmt: skip
            positive, negative = sides
            yield f"{name}, {template}", (positive, negative)


def _unit(extract: Extractor, positive: Tensor, negative: Tensor) -> Float[Tensor, " d_model"]:
    return normalize(extract(positive, negative).double(), dim=0)


def _bootstrap(
    name: str, extract: Extractor, positive: Tensor, negative: Tensor, generator: np.random.Generator
) -> Score:
    """The cosine between directions of two resamples: its mean, and where 95 % of the pairs lie."""

    def drawn(side: Tensor) -> Tensor:
        return side[generator.integers(0, len(side), len(side))]

    pairs = track(range(RESAMPLES), f"Resampling ({name})")
    return _spread(
        name, [float(_unit(extract, drawn(positive), drawn(negative)) @
                     _unit(extract, drawn(positive), drawn(negative))) for _ in pairs], len(positive)
    )  # fmt: skip


def _spread(name: str, values: Sequence[float], n: int) -> Score:
    low, high = np.quantile(values, [0.025, 0.975])
    return Score(name=name, value=float(np.mean(values)), low=float(low), high=float(high), n=n, better="higher")


def _shuffled(positive: Tensor, negative: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    both = torch.cat([positive, negative])[generator.permutation(len(positive) + len(negative))]
    return both[: len(positive)], both[len(positive) :]


def _curve(
    extract: Extractor, positive: Tensor, negative: Tensor, generator: np.random.Generator, method: str
) -> Iterator[Point]:
    """Two disjoint draws of n prompts a side, and their agreement."""
    for n in track(SIZES, "Drawing fewer prompts"):
        enough = 2 * n <= min(len(positive), len(negative))
        real = [_agreement(extract, positive, negative, n, generator) for _ in range(REPEATS if enough else 0)]
        chance = [
            _agreement(extract, *_shuffled(positive, negative, generator), n, generator)
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
    return float(_unit(extract, *one) @ _unit(extract, *other))


def expected_agreement(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], n: int
) -> float | None:
    """The cosine between two differences in means of `n` other prompts a side; None where the classes are noise."""
    gap = positive.double().mean(dim=0) - negative.double().mean(dim=0)
    spread = [float(side.double().var(dim=0).sum()) for side in (positive, negative)]
    signal = float(gap @ gap) - spread[0] / len(positive) - spread[1] / len(negative)
    return signal / (signal + sum(spread) / n) if signal > 0 else None


def _effects(
    subject: Subject,
    directions: Mapping[str, Direction],
    validation: Prompts,
    tokens: Sequence[int],
    batch_size: int,
    seed: int,
    folder: RunFolder | None,
) -> Iterator[Effect]:
    """The refusal metric on the validation prompts under every direction ablated, and under none."""
    first = next(iter(directions.values()))
    recipes = {"no edit": Recipe()} | {name: Ablate(each).at("all") for name, each in directions.items()}
    recipes["random, matched"] = random_control(subject, Ablate(first).at("all"), validation, seed)
    batches = subject.batches(token_rows(subject, validation), batch_size)
    known = {effect.name: effect for effect in (folder.journal(EFFECTS, Effect) if folder else [])}
    for name, recipe in track(list(recipes.items()), "Ablating"):
        if name not in known:
            known[name] = Effect(name=name, values=metric_of(subject, batches, recipe, tokens))
            if not np.isfinite(known[name].values).all():
                raise SearchError(f"{subject.name}: logits that are not finite under {name}; try --dtype float32.")
            if folder is not None:
                folder.log(EFFECTS, known[name].model_dump(mode="json"))
        yield known[name]


def _score(effect: Effect) -> Score:
    return mean_score(effect.name, effect.values, better="lower")


def cosines_of(units: Float[Tensor, "variant d_model"]) -> tuple[tuple[float, ...], ...]:
    """The cosine of each with each."""
    return tuple(tuple(float(one @ other) for other in units) for one in units)


def rederive_card(folder: RunFolder) -> list[str]:
    """What the stored directions and effects do not lead to again; the resamples need the model and are left out."""
    recorded = Card.model_validate(folder.results())
    faults = []
    cosines = cosines_of(load_file(folder.path / VARIANTS)["units"])
    # Not bit for bit: a sum rounds differently where its terms begin at another byte of memory.
    if not np.allclose(cosines, recorded.cosines, rtol=0, atol=1e-9):
        faults.append("The stored directions do not lead to the cosines in the results.")
    if tuple(map(_score, folder.journal(EFFECTS, Effect))) != recorded.bypass:
        faults.append("The journal of effects does not lead to the scores in the results.")
    return faults
