"""Direct logit attribution: what each part of the model adds to the logits of refusal, against those of compliance.

    logit difference = sum over parts of part . w / s  +  constant        (Elhage et al. 2021; Wang et al. 2022)

`w` is what the unembedding reads for the difference through the final norm's gain, `s` the norm's scale, held fixed at
the value that it has in the run: a part's number says what it adds to this run's logits, and not what would happen
without it, when the norm would scale the rest anew. Parts are the embedding, every head, the attention's bias, the MLP
(its bias in it), and the biases of norm and unembedding. Where a norm follows the attention, its scale is held fixed
too.

TransformerLens's own `direct_logit_attribution` folds the norms into the weights of the open model, so that the model
would not be the same afterwards; it is the slow version that the tests compare with. Parts that act through later
parts are not told here, which patching does.
"""

from typing import Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from probes.patching.attributed import LogitAttribution, Part
from probes.patching.metric import LogitDifference
from probes.patching.running import require_heads
from workbench.activations.capturing import read_streams
from workbench.errors import ModelError
from workbench.models import Head, Site, Subject, token_rows
from workbench.prompts import Prompts
from workbench.runs import track


def attribute_logits(
    subject: Subject,
    harmful: Prompts,
    harmless: Prompts,
    metric: LogitDifference,
    *,
    batch_size: int = 16,
    seed: int = 0,
) -> LogitAttribution:
    """Attribute the logit difference after the last token of each prompt.

    Raises PromptError where a side has fewer than four prompts, ModelError where the logits are no sum of such parts or
    the heads are not apart.
    """
    head = Head.of(subject)
    random = _random_tokens(subject, metric, seed)
    bad, good = (
        _attributed(subject, head, prompts.require(4, "Attribution"), (metric, random), batch_size)
        for prompts in (harmful, harmless)
    )
    return LogitAttribution(bad[0], bad[1][0], good[1][0], bad[1][1], good[1][1], (bad[2], good[2]))


def _random_tokens(subject: Subject, metric: LogitDifference, seed: int) -> LogitDifference:
    """As many other tokens, drawn at random."""
    n, m = len(metric.towards), len(metric.away)
    used = {*metric.towards, *metric.away}
    order = torch.randperm(int(subject.bridge.cfg.d_vocab), generator=torch.Generator().manual_seed(seed)).tolist()
    free = [token for token in order[: n + m + len(used)] if token not in used]
    return LogitDifference(tuple(free[:n]), tuple(free[n : n + m]))


def _attributed(
    subject: Subject, head: Head, prompts: Prompts, metrics: tuple[LogitDifference, ...], size: int
) -> tuple[tuple[Part, ...], list[Tensor], Tensor]:
    """The parts, their values for each metric [prompt part], and the difference of the first one [prompt]."""
    rows = token_rows(subject, prompts)
    names: tuple[Part, ...] = ()
    order: list[int] = []
    values: list[list[Tensor]] = [[] for _ in metrics]
    differences = []
    for numbers, batch in track(subject.batches(rows, size), "Attributing"):
        names, written, stream = _written(subject, batch)
        logits = subject.logits(batch, last=1)[:, -1]
        order.extend(numbers)
        for place, metric in enumerate(metrics):
            found = _values(head, written, stream, metric)
            _require_sum(subject, found, metric(logits))
            values[place].append(found)
        differences.append(metrics[0](logits).float().cpu())
    back = torch.tensor(order).argsort()
    return (*names, Part("biases")), [torch.cat(each)[back] for each in values], torch.cat(differences)[back]


def _values(
    head: Head, written: Float[Tensor, "part prompt d"], stream: Float[Tensor, "prompt d"], metric: LogitDifference
) -> Float[Tensor, "prompt every"]:
    """The parts, and behind them the biases of norm and unembedding."""
    ids = [torch.tensor(tokens, device=stream.device) for tokens in (metric.towards, metric.away)]
    rows = [head.rows(each).float().mean(dim=0) for each in ids]
    weights = head.direct_rows(rows[0] - rows[1]) / head.scale(stream)
    parts = einsum(written.double(), weights.double(), "part prompt d, prompt d -> prompt part")
    constant = (head.constant(ids[0]).mean() - head.constant(ids[1]).mean()).double()
    return torch.cat([parts, constant.expand(len(parts), 1)], dim=1).float().cpu()


def _require_sum(subject: Subject, parts: Float[Tensor, "prompt part"], asked: Tensor) -> None:
    """Raise ModelError where the parts do not add up: something else writes to the stream."""
    exact = subject.dtype == torch.float32
    scale = 1 + parts.abs().sum(dim=1)
    off = (parts.sum(dim=1).double() - asked.cpu()).abs()
    if bool((off > (1e-3 if exact else 0.1) * scale).any()):
        raise ModelError(
            f"The parts of {subject.name} add up to the logit difference but for {float(off.max()):.3g}: this "
            "architecture writes to the stream what is no part here, so attribution would be wrong."
        )


def _written(
    subject: Subject, batch: Any
) -> tuple[tuple[Part, ...], Float[Tensor, "part prompt d"], Float[Tensor, "prompt d"]]:
    """What each part writes to the stream at the last token, and the stream at the end."""
    layers = range(subject.n_layers)
    first, last = Site(0, "resid_pre"), Site(subject.n_layers - 1, "resid_post")
    places = [Site(layer, stream) for layer in layers for stream in ("attn_heads", "attn_out", "mlp_out")]
    acts = read_streams(subject, batch, [first, *places, last], lambda each: each[:, -1].clone())
    names, found = [Part("embedding")], [acts[first].float()]
    for layer in layers:
        heads = require_heads(subject, acts[Site(layer, "attn_heads")][:, None])[:, 0]
        each, bias = _by_head(subject, layer, heads, acts[Site(layer, "attn_out")])
        names += [Part("head", layer, number) for number in range(len(each))]
        names += [Part("attention bias", layer), Part("MLP", layer)]
        found += [*each, bias, acts[Site(layer, "mlp_out")].float()]
    return tuple(names), torch.stack(found), acts[last].float()


@torch.inference_mode()
def _by_head(
    subject: Subject, layer: int, heads: Float[Tensor, "prompt head d_head"], written: Float[Tensor, "prompt d"]
) -> tuple[Float[Tensor, "head prompt d"], Float[Tensor, "prompt d"]]:
    """What each head writes, and the bias: the output projection is asked, and no side of its matrix is guessed."""
    block = subject.bridge.blocks[layer]
    project = block.attn.o.original_component
    bias = project(torch.zeros_like(heads[:1]).flatten(1))
    alone = torch.eye(heads.shape[1], dtype=heads.dtype, device=heads.device)[:, None, :, None] * heads
    each = (project(alone.flatten(2)) - bias).float()
    every = bias.float().expand_as(written)
    norm = getattr(block, "ln1_post", None)
    if norm is not None:
        gain = _gain(norm, each.sum(dim=0) + every)
        each, every = each * gain, every * gain
    off = (each.sum(dim=0) + every - written.float()).abs().max()
    if float(off) > (1e-3 if subject.dtype == torch.float32 else 0.1) * (1 + float(written.abs().max())):
        raise ModelError(
            f"The heads of {subject.name} do not add up to what its attention writes in layer {layer}, so this "
            "architecture has no separate heads to attribute to."
        )
    return each, every


def _gain(norm: Any, total: Float[Tensor, "prompt d"]) -> Float[Tensor, "prompt d"]:
    """What a root-mean-square norm multiplies its input by, element by element, its scale as in this run."""
    inside = norm.original_component
    eps = next((float(getattr(inside, name)) for name in ("variance_epsilon", "eps") if hasattr(inside, name)), 1e-6)
    weight = inside.weight.detach().float() + (1 if norm.uses_weight_offset else 0)
    return weight / (total.square().mean(dim=-1, keepdim=True) + eps).sqrt()
