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

import torch
from jaxtyping import Float64
from torch import Tensor

from probes.patching.metric import Metric
from probes.patching.pairs import HARMFUL, HARMLESS, Pairs
from probes.patching.patched import ActivationPatching, HeadPatching
from probes.patching.running import Prepared, activations_of, last_columns, replacing, require_heads
from probes.patching.shares import require_gap
from workbench.models import Site, Subject
from workbench.runs import track

STREAMS = ("resid_pre", "attn_out", "mlp_out")
ALL = "all tokens"


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
