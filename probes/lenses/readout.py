"""What a lens reads of many streams: top tokens, chosen groups of tokens, entropy, and how far off the end it is.

    probability(G) = sum_G q                  q = softmax(logits of the lens)
    log-odds(G)    = the refusal metric of the group, as everywhere in the workbench
    rank(G)        = how many tokens are likelier than G's likeliest (0: it is the top token)
    entropy        = - sum q log q            (nats)
    KL             = sum p log(p / q)         (nats)  p: the model's own output at that token

Logits are made for a few rows at a time and never kept: 25 sites of 1,000 tokens would be 15 GB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes.lenses.lens import Lens
from workbench.activations import capture
from workbench.errors import LensError, UsageError
from workbench.evaluation.refusal import refusal_metric
from workbench.interventions import Recipe, steered
from workbench.models import Site, Subject
from workbench.prompts import Prompts
from workbench.runs import track

Groups = Mapping[str, Sequence[int]]
_ROWS = 32


@dataclass(frozen=True, eq=False)
class Readout:
    """By row (a token of a prompt) and site."""

    top: Int[Tensor, "row site k"]
    top_probability: Float[Tensor, "row site k"]
    log_odds: Float64[Tensor, "row site group"]
    probability: Float[Tensor, "row site group"]
    rank: Int[Tensor, "row site group"]
    entropy: Float[Tensor, "row site"]
    kl: Float[Tensor, "row site"]


def lens_logits(
    subject: Subject, lens: Lens, streams: Float[Tensor, "row d_model"], site: Site
) -> Float[Tensor, "row vocab"]:
    """The lens's logits of streams at one site; at the last site, the model's own."""
    from transformer_lens.tools.analysis import logit_readout

    carried = lens.carry(streams.to(subject.device), site)
    with subject.lock:
        values: Tensor = logit_readout(subject.bridge, carried, chunk_size=_ROWS).values
    return values.float()


def end_streams(
    subject: Subject,
    lens: Lens,
    prompts: Prompts,
    positions: Sequence[int],
    recipe: Recipe | None = None,
    batch_size: int = 32,
) -> Float[Tensor, "example position site d_model"]:
    """The stream at every site of the lens, under a recipe, at the end of every prompt."""
    lens.check_fits(subject)
    with steered(subject, recipe or Recipe()):
        return capture(subject, prompts, sites=lens.sites, positions=positions, batch_size=batch_size).values


def read_out(
    subject: Subject, lens: Lens, streams: Float[Tensor, "row site d_model"], groups: Groups, top: int = 5
) -> Readout:
    """Read streams at all of the lens's sites."""
    lens.check_fits(subject)
    _check_groups(subject, groups, top)
    rows = track(streams.split(_ROWS), f"Reading through the {lens.method} lens")
    parts = [_part(subject, lens, part, groups, top) for part in rows]
    return Readout(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Readout)))


@torch.no_grad()
def _part(
    subject: Subject, lens: Lens, streams: Float[Tensor, "row site d_model"], groups: Groups, top: int
) -> Readout:
    last = lens_logits(subject, lens, streams[:, -1], lens.sites[-1]).log_softmax(dim=-1)
    found = []
    for place, site in enumerate(lens.sites):
        found.append(_measured(lens_logits(subject, lens, streams[:, place], site), last, groups, top))
    return Readout(*(torch.stack([each[name] for each in found], dim=1) for name in found[0]))


def _measured(
    logits: Float[Tensor, "row vocab"], last: Float[Tensor, "row vocab"], groups: Groups, top: int
) -> dict[str, Any]:
    said = logits.log_softmax(dim=-1)
    likely = said.topk(top, dim=-1)
    best = [logits[:, list(ids)].amax(dim=-1, keepdim=True) for ids in groups.values()]
    return {
        "top": likely.indices.cpu(),
        "top_probability": likely.values.exp().cpu(),
        "log_odds": torch.stack([refusal_metric(logits, ids) for ids in groups.values()], dim=-1).cpu(),
        "probability": torch.stack([said[:, list(ids)].exp().sum(dim=-1) for ids in groups.values()], dim=-1).cpu(),
        "rank": torch.stack([(logits > each).sum(dim=-1) for each in best], dim=-1).cpu(),
        "entropy": -(said.exp() * said).sum(dim=-1).cpu(),
        "kl": (last.exp() * (last - said)).sum(dim=-1).clamp_min(0).cpu(),
    }


def _check_groups(subject: Subject, groups: Groups, top: int) -> None:
    size = int(subject.bridge.cfg.d_vocab)
    if not groups or not all(groups.values()):
        raise UsageError("A lens follows one group of tokens or more, and none of them may be empty; name some tokens.")
    unknown = [token for ids in groups.values() for token in ids if not 0 <= token < size]
    if unknown:
        raise UsageError(f"{subject.name} has tokens 0 to {size - 1}, and no {unknown[0]}; choose others.")
    if not 1 <= top <= size:
        raise UsageError(f"{subject.name} has {size} tokens, so the likeliest {top} cannot be named.")


def single_token(subject: Subject, text: str) -> int:
    """The one token that `text` is. Raises LensError where it is none, or more than one."""
    ids = [int(token) for token in subject.tokenizer(text, add_special_tokens=False)["input_ids"]]
    if len(ids) != 1:
        parts = ", ".join(repr(subject.tokenizer.decode([token])) for token in ids)
        what = f"is {len(ids)} tokens of {subject.name} ({parts})" if ids else f"has no token in {subject.name}"
        raise LensError(f"{text!r} {what}, and a lens follows single tokens; name one of them.")
    return ids[0]
