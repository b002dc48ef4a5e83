"""Refusal cones: orthogonal directions, every mixture of which mediates the behaviour (Wollschlaeger et al. 2025).

The basis is found by the optimiser of the search. What is reported is measured on validation prompts that it never saw:
the refusal metric under each axis ablated, under directions drawn from inside the cone, and under the whole span.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from workbench.activations import ActivationStore
from workbench.directions import Direction
from workbench.display import Shown
from workbench.errors import UsageError
from workbench.evaluation.refusal import metric_of, refusal_tokens
from workbench.interventions import Ablate, AblateSubspace, Recipe, random_control
from workbench.models import Subject, token_rows
from workbench.prompts import ContrastPairs
from workbench.runs import RunFolder, RunManifest, note, track
from workbench.search.descent import drawn_weights
from workbench.search.finding import draw, kept_pairs
from workbench.search.methods import Task
from workbench.search.methods.refusal_direction_optimisation import optimised
from workbench.search.recorded import digests_of
from workbench.search.settings import SearchSettings
from workbench.statistics import Score, mean_score

MOST = 8  # axes
INSIDE = 4  # directions drawn from inside the cone
METHOD = "refusal-cone"
EFFECTS = "effects.jsonl"


class Effect(BaseModel):
    """The refusal metric of each validation prompt under one edit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: list[float]


@dataclass(frozen=True)
class Cone(Shown):
    """Orthogonal directions at one place, and the refusal metric on validation prompts under each edit."""

    axes: tuple[Direction, ...]
    scores: tuple[Score, ...]

    def __repr__(self) -> str:
        return f"Cone({len(self.axes)} axes at {self.axes[0].site} of {self.axes[0].model_name})"

    def recipe(self) -> Recipe:
        """The whole span ablated, everywhere."""
        return AblateSubspace(self.axes).at("all")

    def sample(self, seed: int) -> Direction:
        """A direction drawn from inside the cone."""
        weights = drawn_weights(len(self.axes), seed, 0)
        unit = weights @ torch.stack([axis.unit for axis in self.axes])
        origin = sum(float(w) * axis.origin for w, axis in zip(weights, self.axes, strict=True))
        return replace(self.axes[0], unit=unit / unit.norm(), origin=origin)

    def to_json(self) -> dict[str, Any]:
        return {
            "axes": [{"digest": axis.digest, "site": str(axis.site), "position": axis.position} for axis in self.axes],
            "scores": [score.model_dump() for score in self.scores],
        }


def find_cone(
    subject: Subject,
    pairs: ContrastPairs,
    dimension: int,
    *,
    settings: SearchSettings | None = None,
    store: ActivationStore | None = None,
    folder: RunFolder | None = None,
) -> Cone:
    """A cone of `dimension` axes, optimised on train prompts and measured on validation prompts.

    Raises UsageError where there are too few or too many axes, and what `find_direction` raises.
    """
    _require_dimension(dimension)
    chosen = settings or SearchSettings()
    train, val = draw(pairs, None, chosen)
    tokens = refusal_tokens(subject, train.positive, chosen.refusal_starts, chosen.batch_size)
    kept_train, kept_val = kept_pairs(subject, train, val, tokens, chosen)
    _, axes = optimised(Task(subject, kept_train, tokens.ids, chosen, store, folder), dimension)
    seen = frozenset(p.digest for both in (train, val) for side in (both.positive, both.negative) for p in side)
    named = tuple(replace(axis, method=METHOD, seen=seen) for axis in axes)
    cone = Cone(named, ())
    batches = subject.batches(token_rows(subject, kept_val.positive), chosen.batch_size)
    recipes = _measured_under(subject, cone, kept_val)
    known = {effect.name: effect for effect in (folder.journal(EFFECTS, Effect) if folder else [])}
    for name, recipe in track(list(recipes.items()), "Measuring the cone"):
        if name not in known:
            known[name] = Effect(name=name, values=metric_of(subject, batches, recipe, tokens.ids))
            if folder is not None:
                folder.log(EFFECTS, known[name].model_dump(mode="json"))
    effects = [known[name] for name in recipes]
    return replace(cone, scores=tuple(map(_score, effects)))


def _require_dimension(dimension: int) -> None:
    if not 1 <= dimension <= MOST:
        raise UsageError(f"A cone has 1 to {MOST} axes, not {dimension}.")


def _measured_under(subject: Subject, cone: Cone, validation: ContrastPairs) -> Mapping[str, Recipe]:
    axes = {f"axis {number}": Ablate(axis).at("all") for number, axis in enumerate(cone.axes, start=1)}
    inside = {f"inside {seed}": Ablate(cone.sample(seed)).at("all") for seed in range(INSIDE if len(axes) > 1 else 0)}
    control = random_control(subject, cone.recipe(), validation.positive)
    return {"no edit": Recipe()} | axes | inside | {"span": cone.recipe(), "random span, matched": control}


def _score(effect: Effect) -> Score:
    return mean_score(effect.name, effect.values, "lower")


def rederive_cone(folder: RunFolder) -> list[str]:
    """What the stored effects do not lead to again."""
    recorded = tuple(Score.model_validate(score) for score in folder.results()["scores"])
    same = tuple(map(_score, folder.journal(EFFECTS, Effect))) == recorded
    return [] if same else ["The journal of effects does not lead to the scores in the results."]


def record_cone(
    subject: Subject,
    pairs: ContrastPairs,
    dimension: int,
    *,
    settings: SearchSettings | None = None,
    out: Path | None = None,
) -> RunFolder:
    """Find a cone into a run folder: its axes as direction files, and the recipe that ablates its span."""
    _require_dimension(dimension)
    chosen = settings or SearchSettings()
    manifest = RunManifest(
        command="cone", settings=chosen.to_json() | {"dimension": dimension}, model=subject.identity,
        data=digests_of(draw(pairs, None, chosen)),
    )  # fmt: skip
    folder = RunFolder.start(manifest, out)
    if folder.done:
        note(f"This cone was found before; it is in {folder.path}.")
        return folder
    with folder.timed("cone"):
        cone = find_cone(
            subject, pairs, dimension, settings=chosen, store=ActivationStore.default(), folder=folder
        )  # fmt: skip
    for number, axis in enumerate(cone.axes, start=1):
        axis.save(folder.path / f"axis-{number}.safetensors")
    cone.recipe().save(folder.path / "recipe.json")
    folder.finish(cone.to_json(), list(cone.scores))
    return folder
