"""Activation patching: put what one run had at a place into another run, and see how much of the difference comes back.

1. Two runs: a harmful and a harmless prompt, aligned from the end (`pairs`). One of them is run again while, at one
   place, it is given the activations of the other (Vig et al. 2020; Meng et al. 2022; Zhang and Nanda 2024).
2. A place is a block's input, its attention's or its MLP's output at one token, or at all that both prompts have; or a
   head's output at the kept tokens.
3. The effect is the share of the two runs' difference in the metric that is restored (`shares`).

The control, in the same passes, patches from another prompt of the run's own class: it changes the prompt and not the
class. Each prompt gives once and takes once, so that where all is replaced its mean over all pairs is 0 by
construction; its interval says how far prompts of one class lie from each other.

Prompts before the kept tokens differ in length, so that single earlier tokens are not patched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float64
from torch import Tensor

from probes.patching.metric import Metric
from probes.patching.pairs import HARMFUL, HARMLESS, Pairs
from probes.patching.running import Prepared, activations_of, last_columns, replacing
from probes.patching.shares import Shares, columns, require_gap, shares
from workbench.display import Shown
from workbench.errors import ModelError
from workbench.models import Site, Subject
from workbench.runs import track
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

STREAMS = ("resid_pre", "attn_out", "mlp_out")
ALL = "all tokens"
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


def patch_activations(
    subject: Subject,
    pairs: Pairs,
    metric: Metric,
    *,
    into: str = HARMFUL,
    streams: Sequence[str] = STREAMS,
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
) -> ActivationPatching:
    """Patch every place of `streams` and `layers` of the `into` runs from the other side's runs.

    Raises UsageError where the two sides do not differ in the metric.
    """
    chosen = tuple(range(subject.n_layers)) if layers is None else tuple(layers)
    sites = [Site(layer, stream) for stream in streams for layer in chosen]
    for site in sites:
        subject.check_site(site)
    gaps = _gaps(subject, pairs, metric, into, batch_size)
    found = [_patched(subject, part, metric, sites) for part in _parts(subject, pairs, into, batch_size)]
    effects, control = (torch.cat([each[i] for each in found], dim=-1) for i in (0, 1))
    shape = (len(streams), len(chosen), pairs.kept + 1, len(pairs))
    places = (*pairs.labels, ALL)
    return ActivationPatching(
        into, tuple(streams), chosen, places, effects.reshape(shape), control.reshape(shape), gaps
    )  # fmt: skip


def patch_heads(
    subject: Subject,
    pairs: Pairs,
    metric: Metric,
    *,
    into: str = HARMFUL,
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
) -> HeadPatching:
    """Patch every head of `layers` at the kept tokens; ModelError where heads are not apart."""
    chosen = tuple(range(subject.n_layers)) if layers is None else tuple(layers)
    sites = [Site(layer, "attn_heads") for layer in chosen]
    gaps = _gaps(subject, pairs, metric, into, batch_size)
    found = [_patched_heads(subject, part, metric, sites) for part in _parts(subject, pairs, into, batch_size)]
    effects, control = (torch.cat([each[i] for each in found], dim=-1) for i in (0, 1))
    return HeadPatching(into, chosen, effects, control, gaps)


@dataclass(frozen=True, eq=False)
class _Part:
    """Runs to patch, each there twice: from the other side, and from another prompt of its own (the control)."""

    runs: Prepared
    sources: list[tuple[int, ...]]
    common: list[int]  # tokens, from the end, that a run has beside its source

    @property
    def n(self) -> int:
        return len(self.sources) // 2


def _parts(subject: Subject, pairs: Pairs, into: str, size: int) -> Iterator[_Part]:
    own = pairs.side(into)
    other = pairs.side(HARMLESS if into == HARMFUL else HARMFUL)
    alike = (*own[1:], own[0])  # each with the next prompt of its class
    for start in track(range(0, len(own), size), "Patching"):
        rows = slice(start, start + size)
        targets, sources = [*own[rows], *own[rows]], [*other[rows], *alike[rows]]
        common = [min(len(one), len(two)) for one, two in zip(targets, sources, strict=True)]
        yield _Part(Prepared.of(subject, targets, pairs.kept), sources, common)


def _patched(
    subject: Subject, part: _Part, metric: Metric, sites: Sequence[Site]
) -> tuple[Float64[Tensor, "site place pair"], Float64[Tensor, "site place pair"]]:
    kept = part.runs.kept
    masks = [torch.arange(kept).expand(2 * part.n, kept) == place for place in range(kept)]
    whole = last_columns(part.common, min(max(part.common), int(part.runs.batch.ids.shape[1])))
    plain = part.runs.metric(metric), part.runs.metric(metric, whole=True)
    rows, sources = [], activations_of(subject, part.sources, sites)
    for site in track(list(sites), "Patching places"):
        source = sources[site]
        found = [part.runs.metric(metric, [(site, replacing(source, mask))]) - plain[0] for mask in masks]
        everywhere = part.runs.metric(metric, [(site, replacing(source, whole))], whole=True)
        rows.append(torch.stack([*found, everywhere - plain[1]]))
    return _apart(torch.stack(rows), part.n)


def _patched_heads(
    subject: Subject, part: _Part, metric: Metric, sites: Sequence[Site]
) -> tuple[Float64[Tensor, "layer head pair"], Float64[Tensor, "layer head pair"]]:
    every = torch.ones(2 * part.n, part.runs.kept, dtype=torch.bool)
    plain, rows = part.runs.metric(metric), []
    sources = activations_of(subject, part.sources, sites, part.runs.kept)
    for site in track(list(sites), "Patching heads"):
        source = require_heads(subject, sources[site])
        heads = range(source.shape[2])
        found = [part.runs.metric(metric, [(site, replacing(source, every, head))]) - plain for head in heads]
        rows.append(torch.stack(found))
    return _apart(torch.stack(rows), part.n)


def require_heads(subject: Subject, acts: Tensor) -> Tensor:
    """Activations [row pos head d_head]; ModelError where the architecture's heads are not apart."""
    if acts.ndim != 4:
        raise ModelError(f"{subject.name} has no separate heads: their outputs come as {tuple(acts.shape)}.")
    return acts


def _apart(both: Float64[Tensor, "*place row"], n: int) -> tuple[Tensor, Tensor]:
    return both[..., :n], both[..., n:]


def _gaps(subject: Subject, pairs: Pairs, metric: Metric, into: str, size: int) -> Float64[Tensor, " pair"]:
    own, other = (_metrics(subject, rows, metric, size) for rows in (pairs.harmful, pairs.harmless))
    gaps = other - own if into == HARMFUL else own - other
    require_gap(gaps)
    return gaps


def _metrics(subject: Subject, rows: Sequence[Sequence[int]], metric: Metric, size: int) -> Float64[Tensor, " pair"]:
    """The metric of whole rows, in their order."""
    parts = [subject.batch(rows[start : start + size]) for start in range(0, len(rows), size)]
    return torch.cat([metric(subject.logits(batch, last=1)[:, -1]).cpu() for batch in parts])
