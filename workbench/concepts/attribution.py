"""How much each concept adds to a logit.

At the last site, with the final norm's scale held at its value (`models.Head`), for a token y against the vocabulary:

    logit_y - mean logit = sum over concepts  w_c v_c . (W_y - mean W)  + residual's part + biases' part

It is exact, also for a stream that an edit has changed: the parts are those of the stream that the norm reads. Shares
are of absolute parts, |known|, |discovered|, |residual|; what of the discovered part is the same in every token
(`constant`) is counted with it, and told apart. At any other site the parts still sum to the stream, and what they do
to a logit is its gradient there times the part: first order, and no sum.
"""

from dataclasses import dataclass, replace

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from workbench.concepts.bottleneck import Bottleneck, Reading
from workbench.errors import ConceptError
from workbench.models import Batch, Head, Site, Subject, token_rows
from workbench.prompts import Prompts

PARTS = ("known", "discovered", "residual")


@dataclass(frozen=True)
class Attribution:
    """Parts of the centred logits of `tokens`, one for each position.

    `known` [pos concept] and `discovered` [pos k] (of the concepts `numbers`) are each concept's part; `constant`,
    `residual` and `biases` [pos] the rest of `logit`, the logit less the vocabulary's mean. `exact` is False where the
    parts are of first order.
    """

    names: tuple[str, ...]
    tokens: Int[Tensor, " pos"]
    logit: Float[Tensor, " pos"]
    known: Float[Tensor, "pos concept"]
    discovered: Float[Tensor, "pos k"]
    numbers: Int[Tensor, "pos k"]
    constant: Float[Tensor, " pos"]
    residual: Float[Tensor, " pos"]
    biases: Float[Tensor, " pos"]
    exact: bool

    @property
    def total(self) -> Float[Tensor, " pos"]:
        """The sum of all parts."""
        return self.known.sum(dim=1) + self.discovered.sum(dim=1) + self.constant + self.residual + self.biases

    @property
    def shares(self) -> Float[Tensor, "pos part"]:
        """Of known, discovered (with the constant) and residual, in that order."""
        parts = [self.known.sum(dim=1), self.discovered.sum(dim=1) + self.constant, self.residual]
        sizes = torch.stack(parts, dim=1).abs()
        return sizes / sizes.sum(dim=1, keepdim=True).clamp_min(1e-12)


def attribute(
    subject: Subject, bottleneck: Bottleneck, prompts: Prompts, tokens: Int[Tensor, " pos"] | None = None
) -> list[Attribution]:
    """For each prompt, what makes the logit of each position's next token: the one that follows, or the likeliest.

    `tokens` asks for others, one for each position of every prompt. The edit that is on the model is part of what is
    explained. Raises DirectionError where the bottleneck is of another model.
    """
    head = head_of(subject, bottleneck)
    return [attribute_row(subject, bottleneck, row, head, tokens) for row in token_rows(subject, prompts)]


def head_of(subject: Subject, bottleneck: Bottleneck) -> Head | None:
    """The model's head where the bottleneck is right before it; None at any other site."""
    last = bottleneck.site == Site(subject.n_layers - 1, "resid_post")
    return Head.of(subject) if last else None


def attribute_row(
    subject: Subject, bottleneck: Bottleneck, row: list[int], head: Head | None, tokens: Tensor | None = None,
    n_prompt: int | None = None,
) -> Attribution:  # fmt: skip
    """The same for one row of tokens; where the first `n_prompt` are a prompt, for the reply's tokens alone."""
    bottleneck.check_fits(subject)
    batch, first = subject.batch([row]), 0
    if n_prompt is not None:
        batch, first = replace(batch, prompt_lengths=torch.tensor([n_prompt], device=subject.device)), n_prompt - 1
    stream, logits = _run(subject, bottleneck, batch, gradients=head is None)
    asked = _asked(row, logits.detach(), tokens)[first:]
    if head is not None:
        return _exactly(head, bottleneck, stream[0, first:].float(), asked)
    centred = logits[first:].float() - logits[first:].float().mean(dim=-1, keepdim=True)
    picked = centred.gather(1, asked[:, None])[:, 0]
    slopes = [torch.autograd.grad(each, stream, retain_graph=True)[0][0, first + i] for i, each in enumerate(picked)]
    return _parts(bottleneck, stream[0, first:].detach(), torch.stack(slopes).float(), asked, picked.detach())


def _run(subject: Subject, bottleneck: Bottleneck, batch: Batch, gradients: bool) -> tuple[Tensor, Tensor]:
    """The stream at the site [1 pos d_model], after every edit, and the logits [pos vocab]."""
    kept: list[Tensor] = []

    def keep(acts: Tensor, hook: object) -> Tensor | None:
        found = acts.detach().requires_grad_(True) if gradients else acts
        kept.append(found)
        return found if gradients else None

    with subject.hooked([(bottleneck.site, keep)]):
        logits = subject.logits(batch, gradients=gradients)
    return kept[0], logits[0]


def _asked(row: list[int], logits: Float[Tensor, "pos vocab"], tokens: Tensor | None) -> Int[Tensor, " pos"]:
    """The token whose logit is explained at each position."""
    if tokens is None:
        return torch.tensor([*row[1:], int(logits[-1].argmax())])
    if len(tokens) != len(row):
        raise ConceptError(f"{len(tokens)} tokens are asked for and the prompt has {len(row)}; give one for each.")
    return tokens


def _exactly(
    head: Head, bottleneck: Bottleneck, acts: Float[Tensor, "pos d_model"], asked: Int[Tensor, " pos"]
) -> Attribution:
    rows = head.rows(asked).float() - head.mean_row
    biases = einsum(rows, head.shift, "pos d, d -> pos")
    if head.bias is not None:
        biases = biases + head.bias[asked] - head.bias.mean()
    # The direct path is linear and symmetric, so that it may be applied to the rows once and not to each part.
    weights = head.direct_rows(rows) / head.scale(acts)
    logit = einsum(weights, acts, "pos d, pos d -> pos") + biases
    return _parts(bottleneck, acts, weights, asked, logit, biases)


def _parts(
    bottleneck: Bottleneck,
    acts: Float[Tensor, "pos d_model"],
    weights: Float[Tensor, "pos d_model"],
    asked: Tensor,
    logit: Tensor,
    biases: Tensor | None = None,
) -> Attribution:
    """Each part of the stream, weighted at each position."""
    reading = bottleneck(acts)
    found = _concepts(bottleneck, reading, weights)
    rest = [einsum(part, weights, "pos d, pos d -> pos") for part in (reading.constant, reading.residual)]
    zero = torch.zeros_like(rest[0])
    return Attribution(
        names=bottleneck.names, tokens=asked, logit=logit.float(), known=found[0], discovered=found[1],
        numbers=reading.discovered_active.concepts, constant=rest[0], residual=rest[1],
        biases=zero if biases is None else biases, exact=biases is not None,
    )  # fmt: skip


def _concepts(bottleneck: Bottleneck, reading: Reading, weights: Tensor) -> tuple[Tensor, Tensor]:
    active, discovered = reading.known_active, reading.discovered_active
    along = weights @ bottleneck.vectors.T * reading.scale
    dense = torch.zeros_like(along).scatter(1, active.concepts, active.values)
    vectors = bottleneck.decoder[discovered.concepts]
    written = einsum(vectors, weights, "pos k d, pos d -> pos k") * discovered.values * reading.scale
    return dense * along, written
