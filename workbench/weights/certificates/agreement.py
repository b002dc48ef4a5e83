"""How far two sets of logits are apart, and how far rounding may bring them.

Both sides compute one edit in another order, and each rounds what it adds up. What that does to the logits of this
model under this edit is measured (`rounding`): the stream of the live edit is rounded once more. Allowed is

- float32: a difference of 1e-4, or three times the measured one where that is more;
- bfloat16, float16: a mean KL of 1e-3 nats, or twice the measured one where that is more (the plain model in bfloat16
  is 1e-3 nats from itself in float32), and the same most likely token at 99 of 100 positions, or at as many as keep it.
  Tokens whose logits are one step of the dtype apart have no order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_CLOSE, _ROUNDINGS = 1e-4, 3.0
_SAME_TOKEN, _MEAN_KL, _KLS = 0.99, 1e-3, 2.0
_AT_ONCE = 16  # positions, of a vocabulary that may be large


@dataclass(frozen=True)
class Agreement:
    """The figures, over all positions."""

    positions: int
    max_difference: float
    mean_difference: float
    equal_argmax: float  # share of positions with the same most likely token
    same_token: float  # or one whose logit is one rounding away
    mean_kl: float  # nats, of the second set from the first

    def beyond(self, allowed: Mapping[str, float]) -> list[str]:
        """What is further apart than `allowed`, in words."""
        faults = []
        for name, limit in allowed.items():
            value = getattr(self, name)
            within = value >= limit if name == "same_token" else value <= limit
            if not (within and isfinite(value)):  # logits that are no numbers agree with nothing
                faults.append(f"{name} {value:.3g}, allowed {limit:.3g}")
        return faults

    def tolerance(self, dtype: torch.dtype) -> dict[str, float]:
        """What is allowed in a dtype, where these are the figures of one more rounding."""
        if dtype == torch.float32:
            return {"max_difference": max(_CLOSE, _ROUNDINGS * self.max_difference)}
        return {"same_token": min(_SAME_TOKEN, self.same_token), "mean_kl": max(_MEAN_KL, _KLS * self.mean_kl)}


@dataclass
class Comparing:
    """Adds up the figures, row after row, of logits that were computed in `dtype`."""

    dtype: torch.dtype
    positions: int = 0
    worst: float = 0.0
    summed: float = 0.0
    equal: int = 0
    same: int = 0
    kl: float = 0.0

    def add(self, want: Float[Tensor, "pos vocab"], got: Float[Tensor, "pos vocab"]) -> None:
        """Compare one row's logits with what they should be."""
        for one, other in zip(want.split(_AT_ONCE), got.to(want.device).split(_AT_ONCE), strict=True):
            self._add_distances(one.float(), other.float())
            self._add_likelihoods(one.float(), other.float())

    def found(self) -> Agreement:
        """The figures of all that was added."""
        n = self.positions
        shares = (self.equal / n, self.same / n)
        return Agreement(n, self.worst, self.summed / n, *shares, max(self.kl / n, 0.0))

    def _add_distances(self, want: Float[Tensor, "pos vocab"], got: Float[Tensor, "pos vocab"]) -> None:
        apart = (want - got).abs()
        self.positions += len(want)
        # What is not a number is beyond every limit, and max() would forget it.
        self.worst = max(self.worst, float(apart.max().nan_to_num(torch.inf)))
        self.summed += float(apart.mean(dim=1).sum())
        for name, allowed in (("equal", False), ("same", True)):
            found = self._is_top(want, got, allowed) | self._is_top(got, want, allowed)
            setattr(self, name, getattr(self, name) + int(found.sum()))

    def _add_likelihoods(self, want: Float[Tensor, "pos vocab"], got: Float[Tensor, "pos vocab"]) -> None:
        logs = want.log_softmax(dim=1)
        likely = logs.exp()
        self.kl += float((likely * (logs - got.log_softmax(dim=1))).sum())

    def _is_top(self, chooser: Tensor, other: Tensor, rounded: bool) -> Bool[Tensor, " pos"]:
        """Whether the most likely token of one is a most likely one of the other."""
        top = other.amax(dim=1, keepdim=True)
        chosen = other.gather(1, chooser.argmax(dim=1, keepdim=True))
        return (top - chosen <= (self._step(top) if rounded else 0))[:, 0]

    def _step(self, logits: Tensor) -> Tensor:
        """The distance between neighbouring numbers of the dtype."""
        return torch.finfo(self.dtype).eps * torch.exp2(logits.abs().clamp_min(1e-30).log2().floor())
