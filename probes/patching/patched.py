"""What activation patching found: effects by place or by head, each beside the control's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jaxtyping import Float64
from torch import Tensor

from probes.patching.pairs import HARMFUL, HARMLESS
from probes.patching.shares import Shares, columns, shares
from workbench.display import Shown
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {"resid_pre": "block input", "attn_out": "attention output", "mlp_out": "MLP output"}


@dataclass(frozen=True, eq=False)
class ActivationPatching(Shown):
    """Effects by stream, layer and place. `gaps` are the other run's metric less the run's own, pair by pair."""

    into: str
    streams: tuple[str, ...]
    layers: tuple[int, ...]
    places: tuple[str, ...]
    effects: Float64[Tensor, "stream layer place pair"]
    control: Float64[Tensor, "stream layer place pair"]
    gaps: Float64[Tensor, " pair"]

    def __repr__(self) -> str:
        stream, layer, place = self.strongest
        found = self.share(stream, layer, place).format(".2f")
        return (
            f"ActivationPatching(into {self.into}, {len(self.gaps)} pairs; most at {layer}.{stream} {place!r}: {found})"
        )

    @property
    def source(self) -> str:
        """The class of the runs that activations are taken from."""
        return HARMLESS if self.into == HARMFUL else HARMFUL

    @cached_property
    def shares(self) -> Shares:
        return shares(self.effects, self.gaps)

    @cached_property
    def control_shares(self) -> Shares:
        return shares(self.control, self.gaps)

    @property
    def strongest(self) -> tuple[str, int, str]:
        """The stream, layer and place whose mean effect is largest; the same pairs chose it that it is told of."""
        flat = int(abs(self.shares.value).argmax())
        _, layers, places = self.shares.value.shape
        stream, rest = divmod(flat, layers * places)
        return self.streams[stream], self.layers[rest // places], self.places[rest % places]

    def share(self, stream: str, layer: int, place: str, *, control: bool = False) -> Score:
        """The share restored by one place, with its interval."""
        found = self.control_shares if control else self.shares
        return found.score(f"{layer}.{stream} {place}", self._at(stream, layer, place))

    def values(self, stream: str, layer: int, place: str, *, control: bool = False) -> list[float]:
        """How much one place changes the metric, pair by pair."""
        changes: list[float] = (self.control if control else self.effects)[self._at(stream, layer, place)].tolist()
        return changes

    def _at(self, stream: str, layer: int, place: str) -> tuple[int, int, int]:
        return self.streams.index(stream), self.layers.index(layer), self.places.index(place)

    def of_pairs(self, numbers: Sequence[int]) -> "ActivationPatching":
        """The same of some pairs alone."""
        kept = list(numbers)
        return ActivationPatching(
            self.into, self.streams, self.layers, self.places, self.effects[..., kept], self.control[..., kept],
            self.gaps[kept],
        )  # fmt: skip

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each place."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for s, stream in enumerate(self.streams):
            for i, layer in enumerate(self.layers):
                for p, place in enumerate(self.places):
                    where = {"into": self.into, "stream": stream, "layer": layer, "place": place}
                    yield where | dict(columns(self.shares, self.control_shares, (s, i, p)))

    def plot(self) -> Any:
        """A map of layers and places for each stream."""
        from workbench.plots.patching import map_figure

        panels = {_NAMES.get(name, name): self.shares.value[s] for s, name in enumerate(self.streams)}
        title = f"share restored<br>(n={len(self.gaps)} pairs)"
        return map_figure(panels, self.places, self.layers, ("token, from the end", "layer", title))


@dataclass(frozen=True, eq=False)
class HeadPatching(Shown):
    """Effects of each head at the kept tokens."""

    into: str
    layers: tuple[int, ...]
    effects: Float64[Tensor, "layer head pair"]
    control: Float64[Tensor, "layer head pair"]
    gaps: Float64[Tensor, " pair"]

    def __repr__(self) -> str:
        (layer, head), score = self.ranked()[0]
        return f"HeadPatching(into {self.into}, {len(self.gaps)} pairs; most by L{layer}H{head}: {score.format('.2f')})"

    @cached_property
    def shares(self) -> Shares:
        return shares(self.effects, self.gaps)

    @cached_property
    def control_shares(self) -> Shares:
        return shares(self.control, self.gaps)

    def ranked(self) -> list[tuple[tuple[int, int], Score]]:
        """(layer, head) and share, the largest first; chosen and told of on the same pairs."""
        found = [
            ((layer, head), self.shares.score(f"L{layer}H{head}", (i, head)))
            for i, layer in enumerate(self.layers)
            for head in range(self.effects.shape[1])
        ]
        return sorted(found, key=lambda each: -abs(each[1].value))

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each head."""
        import pandas as pd

        rows = [
            {"into": self.into, "layer": layer, "head": head}
            | dict(columns(self.shares, self.control_shares, (i, head)))
            for i, layer in enumerate(self.layers)
            for head in range(self.effects.shape[1])
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """A map of heads and layers."""
        from workbench.plots.patching import map_figure

        heads = [str(head) for head in range(self.effects.shape[1])]
        title = f"share restored<br>(n={len(self.gaps)} pairs)"
        return map_figure({"heads": self.shares.value}, heads, self.layers, ("head", "layer", title))
