"""How far a lens is from the model's own output, on prompts that fitted nothing.

    KL(p || q) at a token       p: the model's own next-token distribution, q: the lens's (nats, whole vocabulary)

A prompt's value is the mean over some of its tokens, the last among them; the score is the mean over prompts, with a
bootstrap interval. The logit lens stands beside every lens, and so does the lens's own control where it has one.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from probes.lenses.lens import Lens, Quality
from probes.lenses.readout import lens_logits
from probes.lenses.streams import gather_streams
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.runs import track
from workbench.statistics import Score, mean_score

TOKENS_EACH = 3
_ROWS = 32


def measure_lenses(subject: Subject, lenses: Mapping[str, Lens], held: Prompts, each: int = TOKENS_EACH) -> Quality:
    """The KL of several lenses with the same sites, by name, at every site but the last."""
    held = held.require(2, "Measuring a lens")
    first = next(iter(lenses.values()))
    streams = gather_streams(subject, held, first.sites, each=each)
    parts: list[Tensor] = []
    for rows in track(torch.arange(len(streams)).split(_ROWS), "Measuring the lens"):
        parts.append(_divergences(subject, lenses, first, streams.values[:, rows]))
    values = torch.cat(parts, dim=-1)
    means = torch.stack([values[..., streams.prompt == p].mean(dim=-1) for p in range(len(held))], dim=-1)
    scores = {name: _scores(name, first, of_lens) for name, of_lens in zip(lenses, means, strict=True)}
    return Quality(kl=scores, tokens=len(streams))


def _scores(name: str, lens: Lens, values: Float[Tensor, "before prompt"]) -> list[Score]:
    return [
        mean_score(f"KL of {name} at {site}", of_site.tolist(), "lower")
        for site, of_site in zip(lens.sites[:-1], values, strict=True)
    ]


@torch.no_grad()
def _divergences(
    subject: Subject, lenses: Mapping[str, Lens], first: Lens, streams: Float[Tensor, "site row d_model"]
) -> Float[Tensor, "lens before row"]:
    own = lens_logits(subject, first, streams[-1], first.sites[-1]).log_softmax(dim=-1)
    p = own.exp()
    certain = (p * own).sum(dim=-1)
    found = []
    for lens in lenses.values():
        for place, site in enumerate(lens.sites[:-1]):
            said = lens_logits(subject, lens, streams[place], site)
            found.append((certain - (p * said).sum(dim=-1) + said.logsumexp(dim=-1)).clamp_min(0).cpu())
    return torch.stack(found).view(len(lenses), len(first.sites) - 1, -1)
