"""Does the model's report, or its choice of answer, follow the direction of truth when it is added?

1. The difference in means of true and false statements, as a direction of each of several blocks, is added at every
   token. A strength of 1 is the gap between the classes.
2. Block and strength are those that move most on one part (`chosen_push`), and are then fixed.
3. On another part they are measured beside no edit and beside random directions as long, through the same passes
   (`pushed`). The difference to these is paired, item by item.

What is moved is any function of a recipe that gives a number for each item: the report's log-odds of Yes, or how
rightly a question's answers are ordered by log-probability.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from probes.truth.direction import LAST
from workbench.activations import Activations
from workbench.directions import Direction
from workbench.display import Shown
from workbench.interventions import Add, Recipe, random_control
from workbench.models import Site, Subject
from workbench.prompts import Prompts
from workbench.runs import track
from workbench.statistics import Difference, Score, mean_score, paired_difference

SEEDS = 3
Measured = Callable[[Recipe], Float64[np.ndarray, " n"]]


def mean_directions(
    acts: Activations, true: Bool[np.ndarray, " n"], false: Bool[np.ndarray, " n"], subject: Subject,
    sites: Sequence[Site],
) -> tuple[Direction, ...]:  # fmt: skip
    """The mean of the true rows less that of the false ones, at each of several sites."""
    found = []
    seen = frozenset(digest for digest, used in zip(acts.prompt_digests, true | false, strict=True) if used)
    for site in sites:
        x = acts.at(site, LAST)
        one, other = x[true].mean(dim=0), x[false].mean(dim=0)
        made = Direction.from_raw(
            one - other, other, site=site, position=LAST, method="difference-in-means", model_name=subject.name,
            model_digest=subject.digest, seen=seen,
        )  # fmt: skip
        found.append(made)
    return tuple(found)


@dataclass(frozen=True)
class Push:
    """A direction added at its own site, and how far it moved what was measured where it was chosen."""

    direction: Direction
    strength: float
    moved: float

    def __repr__(self) -> str:
        return f"Push({self.direction.site}, strength {self.strength:g}, moved {self.moved:.3g})"

    @property
    def recipe(self) -> Recipe:
        return Add(self.direction, self.strength).at(self.direction.site)


def chosen_push(
    measured: Measured, directions: Sequence[Direction], strengths: Sequence[float]
) -> tuple[Push, tuple[Push, ...]]:
    """The block and strength under which the mean of what is measured rises most, and the whole table."""
    before = float(np.mean(measured(Recipe())))
    tried = [(direction, strength) for direction in directions for strength in strengths]
    table = []
    for direction, strength in track(tried, "Choosing where and how strongly"):
        push = Push(direction, strength, 0.0)
        table.append(Push(direction, strength, float(np.mean(measured(push.recipe))) - before))
    return max(table, key=lambda push: push.moved), tuple(table)


@dataclass(frozen=True, eq=False)
class Moved(Shown):
    """What was measured without an edit, under the push, and under each random direction as long; item by item."""

    name: str
    push: Push
    before: Float64[np.ndarray, " n"]
    after: Float64[np.ndarray, " n"]
    random: Float64[np.ndarray, "seed n"]

    def __repr__(self) -> str:
        return (
            f"Moved({self.name} at {self.push.direction.site} by {self.push.strength:g}: {self.change.value:+.3f}, "
            f"random {self.random_change.value:+.3f}, gain {_said(self.gain)}, n={self.gain.n})"
        )

    @property
    def scores(self) -> Mapping[str, Score]:
        """The means."""
        return {name: mean_score(name, row) for name, row in self.values.items()}

    @property
    def values(self) -> Mapping[str, list[float]]:
        """What was measured of each item; under random directions, the mean of these."""
        rows = {"no edit": self.before, "truth direction": self.after, "random directions": self.random.mean(axis=0)}
        return {name: row.tolist() for name, row in rows.items()}

    @property
    def change(self) -> Difference:
        return paired_difference(f"{self.name}, truth direction", self.before.tolist(), self.after.tolist())

    @property
    def random_change(self) -> Difference:
        return paired_difference(f"{self.name}, random", self.before.tolist(), self.random.mean(axis=0).tolist())

    @property
    def gain(self) -> Difference:
        """How much more the direction moves than random ones."""
        return paired_difference(f"{self.name}, over random", self.random.mean(axis=0).tolist(), self.after.tolist())

    def of(self, rows: Bool[np.ndarray, " n"], name: str) -> "Moved":
        """The same of some items."""
        return Moved(name, self.push, self.before[rows], self.after[rows], self.random[:, rows])

    def to_json(self) -> dict[str, Any]:
        """The measures, as plain values."""
        return {
            "says": repr(self), "site": str(self.push.direction.site), "strength": self.push.strength,
            "scores": {name: score.model_dump() for name, score in self.scores.items()},
            "each random": self.random.mean(axis=1).tolist(),
            "differences": [each.model_dump() for each in (self.change, self.random_change, self.gain)],
        }  # fmt: skip


def _said(difference: Difference) -> str:
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def pushed(
    name: str, subject: Subject, measured: Measured, push: Push, asked: Prompts, seeds: int = SEEDS
) -> Moved:  # fmt: skip
    """Measure without an edit, under the push, and under random directions of its length."""
    controls = [random_control(subject, push.recipe, asked, seed) for seed in range(seeds)]
    before, after = measured(Recipe()), measured(push.recipe)
    return Moved(name, push, before, after, np.stack([measured(control) for control in track(controls, "Controls")]))
