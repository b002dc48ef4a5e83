"""Every candidate at once, by gradients: a forward and a few backward passes over some validation prompts.

Let w be what a writer (the embedding, an attention output, an MLP output) adds to the stream at a token, and g the
gradient of the refusal metric there. Ablating a unit direction d takes (w . d) d from every writer, so

    change of the metric under ablation    ~  - sum over writers and tokens of (w . d)(g . d)
    change under adding v at layer l       ~  sum over tokens of g_l . v

This is attribution patching (Nanda 2023) of all directions together. KL has no first order at no edit; its second is
the Fisher form of the change z in the logits, z . F z / 2 with F = diag(p) - p p^T, which is E[v v^T] for

    v = y - p sum(y),    y = sqrt(p) x,    x ~ N(0, I)

so that gradients g_v of a few drawn v . logits, in the place of the metric's, give

    KL under ablation    ~  mean over v of (sum over writers and tokens of (w . d)(g_v . d))^2 / 2

The values are guesses at large changes: they order the candidates, and are never reported as scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.evaluation.refusal import refusal_metric
from workbench.models import Batch, Site, Subject
from workbench.runs import track
from workbench.search.scoring import Candidates, Place, Scorer

Taped = Mapping[Site, tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos d_model"]]]

_BATCH = 8  # prompts whose activations are held for the backward pass
_DRAWS = 2  # backward passes for the Fisher form


@dataclass(frozen=True)
class Estimate:
    """Guesses at a candidate's bypass and induce, to first order, and at its KL, to second."""

    bypass: float
    induce: float
    divergence: float


def screen(scorer: Scorer, candidates: Candidates, n: int) -> dict[Place, Estimate]:
    """An estimate for every candidate, from the first `n` validation prompts of each side."""
    places = list(candidates)
    units = torch.stack([direction.unit.float() for direction in candidates.values()])
    scales = torch.tensor([direction.scale for direction in candidates.values()])
    ablated = _mean_change(
        scorer, scorer.harmful[:n], writers(scorer.subject), lambda taped: -_removed(taped, units), "Screening ablation"
    )
    read = list(dict.fromkeys(site for _, site in places))
    index = torch.tensor([read.index(site) for _, site in places])
    added = _mean_change(
        scorer,
        scorer.harmless[:n],
        read,
        lambda taped: scales * (torch.stack([_summed(taped[site][1]) for site in read])[index] * units).sum(dim=-1),
        "Screening addition",
    )
    spread = _divergence(scorer, scorer.harmless[:n], units)
    guesses = zip(ablated.tolist(), added.tolist(), spread.tolist(), strict=True)
    return {place: Estimate(*guess) for place, guess in zip(places, guesses, strict=True)}


def writers(subject: Subject) -> list[Site]:
    """Everything that writes to the stream, once: the embedding, and what attention and MLP of each block add."""
    blocks = [Site(layer, stream) for layer in range(subject.n_layers) for stream in ("attn_out", "mlp_out")]
    return [Site(0, "resid_pre"), *blocks]


@contextmanager
def _keeping(subject: Subject, sites: Sequence[Site]) -> Iterator[dict[Site, Tensor]]:
    """Keep the activations at `sites`, on autograd's tape."""
    kept: dict[Site, Tensor] = {}

    def keeper(site: Site) -> Callable[..., None]:
        def keep(acts: Tensor, hook: object) -> None:
            kept[site] = acts

        return keep

    with subject.hooked([(site, keeper(site)) for site in sites]):
        yield kept


def taped(
    subject: Subject, batch: Batch, sites: Sequence[Site], tokens: Sequence[int]
) -> tuple[Float[Tensor, " batch"], Taped]:
    """The refusal metric of each row, and at each site the activations and the metric's gradient."""
    with _keeping(subject, sites) as kept:
        metric = refusal_metric(subject.logits(batch, last=1, gradients=True)[:, -1], tokens)
        gradients = torch.autograd.grad(metric.sum(), [kept[site] for site in sites])
    pairs = zip(sites, gradients, strict=True)
    return metric.detach(), {site: (kept[site].detach(), gradient) for site, gradient in pairs}


def _divergence(
    scorer: Scorer, rows: Sequence[Sequence[int]], units: Float[Tensor, "candidate d_model"]
) -> Float[Tensor, " candidate"]:
    """The Fisher form of the change under ablation, averaged over the rows and a few draws."""
    subject, sites = scorer.subject, writers(scorer.subject)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(len(units))
    for _, batch in track(subject.batches(rows, _BATCH), "Screening divergence"):
        with _keeping(subject, sites) as kept:
            logits = subject.logits(batch, last=1, gradients=True)[:, -1]
            for draw in range(_DRAWS):
                slopes = torch.autograd.grad(
                    logits,
                    [kept[site] for site in sites],
                    _fisher_draw(logits, generator),
                    retain_graph=draw < _DRAWS - 1,
                )
                found = {site: (kept[site].detach(), slope) for site, slope in zip(sites, slopes, strict=True)}
                total += _removed_rows(found, units).pow(2).sum(dim=0) / 2
    return total / (len(rows) * _DRAWS)


def _fisher_draw(logits: Float[Tensor, "batch vocab"], generator: torch.Generator) -> Float[Tensor, "batch vocab"]:
    """A random vector whose second moment is the Fisher information of the logits, for each row."""
    p = logits.detach().float().softmax(dim=-1)
    drawn = p.sqrt() * torch.randn(p.shape, generator=generator).to(p)
    return (drawn - p * drawn.sum(dim=-1, keepdim=True)).to(logits.dtype)


def _mean_change(
    scorer: Scorer,
    rows: Sequence[Sequence[int]],
    sites: Sequence[Site],
    change: Callable[[Taped], Float[Tensor, " candidate"]],
    title: str,
) -> Float[Tensor, " candidate"]:
    """The mean metric of the unedited model plus the mean change of every candidate."""
    total = torch.zeros(())
    for _, batch in track(scorer.subject.batches(rows, _BATCH), title):
        metric, found = taped(scorer.subject, batch, sites, scorer.tokens)
        total = total + metric.sum().float() + change(found)
    return total / len(rows)


def _removed(found: Taped, units: Float[Tensor, "candidate d_model"]) -> Float[Tensor, " candidate"]:
    """Sum over writers, tokens and rows of (w . d)(g . d), for each direction d."""
    return _removed_rows(found, units).sum(dim=0)


def _removed_rows(found: Taped, units: Float[Tensor, "candidate d_model"]) -> Float[Tensor, "batch candidate"]:
    """The same, for each row."""
    total = torch.zeros(())
    for acts, gradient in found.values():
        along, slope = (
            einsum(t.float(), units.to(t.device), "batch pos d, candidate d -> batch pos candidate")
            for t in (acts, gradient)
        )
        total = total + (along * slope).sum(dim=1).cpu()
    return total


def _summed(gradient: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, " d_model"]:
    return gradient.float().sum(dim=(0, 1)).cpu()
