"""The causal path: where the stream carries the difference of two runs, layer by layer, and which sites write it there.

1. At each layer the token whose block input restores most is where the difference is carried.
2. Of attention and MLP outputs at single tokens, the ones that restore most are what writes it.
3. Both are chosen on every other pair, and told of on the pairs between.

Shares of different sites do not add up to 1: what one restores may pass through another. Sites are in order of layer,
which is the order in which they act; edges between them are not measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.patching.activation_patching import STREAMS
from probes.patching.patched import ActivationPatching
from probes.patching.shares import halves
from workbench.display import Shown
from workbench.errors import UsageError
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Step:
    """A site on the path at one token: the share that it restores, and what the control restores there.

    `chosen_by` is the share on the pairs that chose it.
    """

    layer: int
    stream: str
    place: str
    share: Score
    control: Score
    chosen_by: float


@dataclass(frozen=True)
class CausalPath(Shown):
    """`carriers` are a block input for each layer, `writers` attention and MLP outputs, all in order of layer."""

    into: str
    places: tuple[str, ...]
    carriers: tuple[Step, ...]
    writers: tuple[Step, ...]

    def __repr__(self) -> str:
        route = [self.carriers[0], *(b for a, b in zip(self.carriers, self.carriers[1:], strict=False)
                                     if a.place != b.place)]  # fmt: skip
        told = ", ".join(f"{step.place!r} from layer {step.layer}" for step in route)
        n = self.carriers[0].share.n
        return f"CausalPath(into {self.into}, {len(self.writers)} writers, n={n}; carried at {told})"

    @property
    def strongest(self) -> Step:
        """The first of the writers, as the pairs say that chose them."""
        return max(self.writers, key=lambda step: abs(step.chosen_by))

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each step."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for role, steps in (("carries", self.carriers), ("writes", self.writers)):
            for step in steps:
                yield {
                    "role": role, "layer": step.layer, "stream": step.stream, "place": step.place,
                    "share": step.share.value, "low": step.share.low, "high": step.share.high, "n": step.share.n,
                    "control": step.control.value, "control_low": step.control.low, "control_high": step.control.high,
                    "when_chosen": step.chosen_by,
                }  # fmt: skip

    def plot(self) -> Any:
        """The path through layers and tokens."""
        from workbench.plots.patching import path_figure

        index = self.places.index
        carriers = [(step.layer, index(step.place), step.share) for step in self.carriers]
        writers = [(step.stream, step.layer, index(step.place), step.share) for step in self.writers]
        return path_figure(self.places, carriers, writers)


def causal_path(patching: ActivationPatching, *, writers: int = 10) -> CausalPath:
    """The path that exact patching of all three streams shows, with its `writers` strongest writers.

    Raises UsageError where a stream was not patched, or there are fewer than four pairs.
    """
    missing = [stream for stream in STREAMS if stream not in patching.streams]
    if missing or len(patching.gaps) < 4:
        raise UsageError(
            f"A path needs {', '.join(STREAMS)} patched over 4 pairs or more; got {', '.join(patching.streams)} over "
            f"{len(patching.gaps)}."
        )
    chose, told = (patching.of_pairs(half) for half in halves(len(patching.gaps)))
    single = chose.shares.value[..., :-1]  # without all tokens at once
    stream = patching.streams.index("resid_pre")
    carriers = [(stream, i, int(single[stream, i].argmax())) for i in range(len(patching.layers))]
    size = np.abs(single)
    size[stream] = -1.0
    order = np.argsort(-size, axis=None, kind="stable")[:writers]
    found = sorted(tuple(int(x) for x in np.unravel_index(place, size.shape)) for place in order)
    found = sorted((each for each in found if size[each] >= 0), key=lambda each: (each[1], each[0], each[2]))
    steps = [tuple(_step(told, place, float(single[place])) for place in places) for places in (carriers, found)]
    return CausalPath(patching.into, patching.places[:-1], *steps)


def _step(told: ActivationPatching, at: tuple[int, ...], chosen_by: float) -> Step:
    stream, layer, place = told.streams[at[0]], told.layers[at[1]], told.places[at[2]]
    found, control = (told.share(stream, layer, place, control=each) for each in (False, True))
    return Step(layer, stream, place, found, control, chosen_by)
