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
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.activations import ActivationStore, capture
from workbench.directions import Direction
from workbench.errors import SearchError
from workbench.evaluation.refusal import metric_of
from workbench.interventions import Ablate, Recipe, random_control
from workbench.models import Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder, track, writing
from workbench.search.cones import Effect
from workbench.statistics import Score, mean_score
from workbench.studies.identifiability.card import Card
from workbench.studies.identifiability.resampling import (
    bootstrapped,
    cosines_of,
    curve,
    extractor_of,
    shuffled,
    unit_of,
)

TEMPLATES: Mapping[str, str | None] = {
    "own system prompt": None,
    "short system prompt": "You are a helpful assistant.",
    "terse system prompt": "Answer in one sentence.",
}
VARIANTS, EFFECTS = "variants.safetensors", "effects.jsonl"


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
    extract, method = extractor_of(direction)
    variants = dict(_variants(subject, direction, sets, batch_size))
    (positive, negative), *_ = variants.values()
    units = {name: unit_of(extract, *sides) for name, sides in variants.items()}
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
        bootstrap=bootstrapped("bootstrap", extract, positive, negative, generator),
        shuffled=bootstrapped("shuffled labels", extract, *shuffled(positive, negative, generator), generator),
        curve=tuple(curve(extract, positive, negative, generator, method)),
        names=tuple(variants),
        cosines=cosines_of(torch.stack(list(units.values()))),
        bypass=tuple(_score(effect) for effect in effects),
    )


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
