"""Average Jacobians from every site of the stream to the last, on few passes (Gurnee et al. 2026).

    J_site = E_prompt [ mean over t of  sum over t' >= t of  d h_last(t') / d h_site(t) ]

t and t' run over the tokens that prompts do not share. Row k of J is a gradient of coordinate k, summed over t', taken
by one backward pass. TransformerLens's `JacobianLens.fit` takes every row of every prompt: 896 gradients a prompt. Here
each prompt gives some rows only, other ones each, and the passes hold many prompts at once:

1. Tokens that all prompts share are read once, into a cache, and no gradient goes there (where the model's attention
   window is as long as the prompts; else whole rows are read).
2. In each pass every prompt of the batch is asked for another row; over all prompts each row is asked for as often.
3. J's rows are means over the prompts that were asked for them.

With every row of every prompt it is TransformerLens's estimate, number for number, which a test holds it to. With a
part, the estimate has the same expectation, and noise that is spread over the rows; the more rounds, the less.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.lenses.prefix import Prefix
from workbench.errors import CaptureError, UsageError
from workbench.models import Batch, Site, Subject
from workbench.runs import track


@dataclass
class Sums:
    """Rows summed so far, and over how many gradients; `done` batches are in."""

    rows: Float[Tensor, "site d_model d_model"]
    counts: Float[Tensor, " d_model"]
    done: int = 0

    @classmethod
    def empty(cls, n_sites: int, width: int) -> "Sums":
        return cls(torch.zeros(n_sites, width, width), torch.zeros(width))

    def mean(self) -> Float[Tensor, "site d_model d_model"]:
        """The Jacobians."""
        if not bool((self.counts > 0).all()):
            raise UsageError("Some rows of the Jacobian were never asked for; give more prompts or rounds.")
        return self.rows / self.counts[:, None]

    def add(self, coordinates: Int[Tensor, " row"], found: Float[Tensor, "site row d_model"]) -> None:
        """One gradient of each row of a batch, each of its own coordinate."""
        self.rows.index_add_(1, coordinates, found)
        self.counts.index_add_(0, coordinates, torch.ones(len(coordinates)))


def dealt_coordinates(n_prompts: int, width: int, rounds: float, seed: int = 0) -> Int[np.ndarray, "prompt pass"]:
    """Which coordinates each prompt is asked for: every one as often as any other, but for one."""
    each = min(width, ceil(width * rounds / n_prompts))
    random = np.random.default_rng(seed)
    laps = -(-n_prompts * each // width)
    order = np.concatenate([random.permutation(width) for _ in range(laps)])[: n_prompts * each]
    return order.reshape(n_prompts, each)


def sum_jacobians(
    subject: Subject,
    rows: Sequence[Sequence[int]],
    sites: Sequence[Site],
    coordinates: Int[np.ndarray, "prompt pass"],
    sums: Sums,
    *,
    batch_size: int,
    keep: Callable[[Sums], None] = lambda sums: None,
) -> Sums:
    """Add the asked gradients of every prompt to `sums`, handing them to `keep` after each batch."""
    batches = subject.batches(rows, batch_size)
    steps = [(number, k) for number in range(sums.done, len(batches)) for k in range(coordinates.shape[1])]
    taped: _Taped | None = None
    with subject.frozen():
        prefix = Prefix.of(subject, [batch for _, batch in batches], gradients=True)
        for number, k in track(steps, "Taking gradients"):
            group, batch = batches[number]
            taped = _Taped.of(subject, batch, sites, prefix) if taped is None else taped
            asked = torch.from_numpy(coordinates[group, k])
            sums.add(asked, taped.gradients(asked, last=k + 1 == coordinates.shape[1]))
            if k + 1 == coordinates.shape[1]:
                taped, sums.done = None, number + 1
                keep(sums)
    return sums


@dataclass(frozen=True, eq=False)
class _Taped:
    """A batch's streams on autograd's tape, from the first site on; `own` marks the tokens that count."""

    streams: list[Tensor]
    own: Bool[Tensor, "batch pos"]

    @classmethod
    def of(cls, subject: Subject, batch: Batch, sites: Sequence[Site], prefix: Prefix) -> "_Taped":
        held: dict[Site, Tensor] = {}
        with subject.hooked([(site, _taping(site, site == sites[0], held)) for site in sites]):
            layout = prefix.read(subject, batch, gradients=True)
        return cls([held[site] for site in sites], layout.position >= max(prefix.length, 1))

    def gradients(self, coordinates: Int[Tensor, " batch"], last: bool) -> Float[Tensor, "site batch d_model"]:
        """The gradient of each row's own coordinate, averaged over its tokens."""
        own, target = self.own, self.streams[-1]
        asked = torch.zeros_like(target)
        asked[torch.arange(len(own)), :, coordinates] = own.to(target.dtype)
        found = torch.autograd.grad(target, self.streams[:-1], asked, retain_graph=not last)
        weight = own.float() / own.sum(dim=1, keepdim=True)
        means = torch.stack([(each.float() * weight[..., None]).sum(dim=1).cpu() for each in found])
        if not bool(torch.isfinite(means).all()):
            raise CaptureError("The gradients are not finite; try --dtype float32.")
        return means


def _taping(site: Site, root: bool, held: dict[Site, Tensor]) -> Callable[..., Tensor]:
    """A hook that holds the stream at a site; at the root it puts it on the tape."""

    def hold(acts: Tensor, hook: object) -> Tensor:
        held[site] = acts.detach().requires_grad_() if root else acts
        return held[site]

    return hold
