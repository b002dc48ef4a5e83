"""The side-effect ledger: steer along one direction, and read all the others.

Each direction that is given is read at its own site and position, under every recipe, in class gaps from its negative
class; what moves although it was not meant to is a side effect.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.directions import Direction
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.interventions import Recipe, steered
from workbench.models import token_rows
from workbench.runs import track

_LAST = -1  # the position of a direction that was found over all of them


@metrics.register("readouts")
@dataclass(frozen=True)
class Readouts(Metric):
    """The coordinates of `directions`, by name, on each prompt of `asked`."""

    directions: tuple[tuple[str, Direction], ...] = ()
    asked: str = "harmless"

    measures = ()

    def measured(self) -> Sequence[Measure]:
        return [
            Measure(name, "mean", "neither", "class gaps", f"coordinate of {d.method} at {d.site}, {self.asked}")
            for name, d in self.directions
        ]

    def missing(self, ground: Ground) -> str:
        return "" if self.directions else "No other direction was given to read (--readout NAME=FILE)."

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"directions": {name: direction.digest for name, direction in self.directions}}

    @property
    def seen(self) -> frozenset[str]:
        return frozenset(digest for _, direction in self.directions for digest in direction.seen)

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        subject, prompts = ground.subject, ground.sets[self.asked]
        found: dict[int, dict[str, float | None]] = {}
        for group, batch in track(subject.batches(token_rows(subject, prompts), ground.batch_size), "Reading"):
            read: dict[str, list[float]] = {}
            # The whole pass is run, so that edits after the last readout are visited too.
            with steered(subject, recipe), subject.hooked([(d.site, _reader(n, d, read)) for n, d in self.directions]):
                subject.logits(batch, last=1)
            for row, index in enumerate(group):
                found[index] = {name: values[row] for name, values in read.items()}
        return [Item(key=prompt.digest, values=found[row]) for row, prompt in enumerate(prompts)]


def _reader(name: str, direction: Direction, read: dict[str, list[float]]) -> Callable[..., None]:
    """A hook that notes the direction's coordinate at its own position, counted from the end of the prompt."""
    position = _LAST if direction.position is None else direction.position

    def hook(acts: Tensor, hook: Any = None) -> None:
        read[name] = direction.coordinate(acts[:, position]).tolist()

    return hook
