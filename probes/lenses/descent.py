"""From least squares to the least KL (Belrose et al. 2023): a few steps of Adam on translators of all sites at once.

    KL(p || q) = log sum_v exp z_v  -  sum_v p_v z_v  +  what the translator does not change      z: the lens's logits

1. p is the model's own output. The second sum is a product with sum_v p_v W_v, which is computed once for each token,
   over the whole vocabulary.
2. The first is estimated in each step: exactly over the tokens that p has most of on average, and over the rest by a
   fresh draw, each drawn token standing for many.
3. The rate falls to 0. Every step draws from its own seed, so that a descent that was stopped goes on as if it was not.

Against the whole vocabulary at every step this takes a thirtieth of the products.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from probes.lenses.streams import Streams
from probes.lenses.translators import Affine
from workbench.errors import RunError
from workbench.models import Head
from workbench.runs import track, writing

_KEY = "descent"
_ROWS = 128  # tokens whose logits over the whole vocabulary are held at once


class DescentSettings(BaseModel):
    """How far to go; `steps` 0 stays with least squares."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=40, ge=0)
    batch: int = Field(default=128, ge=1)  # tokens
    rate: float = Field(default=3e-4, gt=0)
    frequent: int = Field(default=4096, ge=1)  # tokens of the vocabulary that are always in the sum
    drawn: int = Field(default=1024, ge=1)  # others, in each step
    keep_every: int = Field(default=10, ge=1)  # steps between checkpoints
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Targets:
    """For each token the unembedding's mean row under p; and the vocabulary in two parts."""

    rows: Float[Tensor, "token d_model"]
    frequent: Int[Tensor, " frequent"]
    others: Int[Tensor, " others"]

    @classmethod
    @torch.no_grad()
    def of(cls, head: Head, last: Float[Tensor, "token d_model"], frequent: int) -> "Targets":
        total = torch.zeros(len(head.unembedding), device=head.unembedding.device)
        parts = []
        for stream in track(last.split(_ROWS), "Reading the targets"):
            p = head.logits(stream.to(total.device)).softmax(dim=-1)
            total += p.sum(dim=0)
            parts.append((p.to(head.unembedding.dtype) @ head.unembedding).float())
        order = total.argsort(descending=True)
        return cls(torch.cat(parts), order[:frequent], order[frequent:])


class Descent:
    """Translators on their way down."""

    def __init__(self, head: Head, streams: Streams, begin: Affine, settings: DescentSettings) -> None:
        device = head.unembedding.device
        self.head, self.streams, self.how, self.done = head, streams, settings, 0
        self.matrices, self.shifts = (each.clone().to(device).requires_grad_() for each in begin)
        # A shift is one number where a matrix has a row of them.
        self.optimiser = torch.optim.Adam(
            [{"params": [self.matrices], "times": 1.0}, {"params": [self.shifts], "times": 10.0}], betas=(0.9, 0.99)
        )

    def run(self, checkpoint: Path | None = None) -> Affine:
        """Take the steps that are left; RunError where the checkpoint is of something else."""
        if checkpoint is not None and checkpoint.exists():
            self._load(checkpoint)
        targets = Targets.of(self.head, self.streams.values[-1], self.how.frequent)
        for step in track(range(self.done, self.how.steps), "Lowering the KL"):
            self._step(step, targets)
            self.done = step + 1
            if checkpoint is not None and self.done % self.how.keep_every == 0:
                self._save(checkpoint)
        return self.matrices.detach().cpu(), self.shifts.detach().cpu()

    def _step(self, step: int, targets: Targets) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = group["times"] * self.how.rate * (1 - step / self.how.steps)
        random = np.random.default_rng((self.how.seed, step))
        tokens = torch.from_numpy(random.integers(len(self.streams), size=self.how.batch))
        drawn = random.integers(max(1, len(targets.others)), size=min(self.how.drawn, len(targets.others)))
        self.optimiser.zero_grad()
        self.loss(tokens, targets, torch.from_numpy(drawn)).backward()
        self.optimiser.step()

    def loss(self, tokens: Int[Tensor, " batch"], targets: Targets, drawn: Int[Tensor, " drawn"]) -> Tensor:
        """The KL of each site, but for a constant: the mean over `tokens`, summed over sites."""
        head, device = self.head, self.matrices.device
        stream = self.streams.values[:-1, tokens].float().to(device)
        carried = torch.baddbmm(self.shifts[:, None], stream, self.matrices.transpose(1, 2))
        normed = head.direct(carried) / head.scale(carried) + head.shift
        candidates = torch.cat([targets.frequent, targets.others[drawn.to(device)]])
        logits = normed.to(head.unembedding.dtype) @ head.rows(candidates).T
        logits = logits.float() if head.bias is None else logits.float() + head.bias[candidates]
        weight = torch.zeros(len(candidates), device=device)
        if len(drawn):
            weight[len(targets.frequent) :] = math.log(len(targets.others) / len(drawn))
        said = (normed * targets.rows[tokens.to(device)]).sum(dim=-1)
        return ((logits + weight).logsumexp(dim=-1) - said).mean(dim=1).sum()

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        yield "matrices", self.matrices
        yield "shifts", self.shifts
        for number, moments in self.optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                yield f"{number}.{name}", value

    def _save(self, path: Path) -> None:
        held = {name: value.detach().cpu().contiguous() for name, value in self._named()}
        said = {"settings": self.how.model_dump(), "done": self.done, "tokens": len(self.streams)}
        with writing(path) as draft:
            save_file(held, draft, {_KEY: json.dumps(said)})

    def _load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                said = json.loads(file.metadata()[_KEY])
                held = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if (said["settings"], said["tokens"]) != (self.how.model_dump(), len(self.streams)):
                raise ValueError("other settings or tokens")
            with torch.no_grad():
                self.matrices.copy_(held.pop("matrices"))
                self.shifts.copy_(held.pop("shifts"))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in held.items():
                number, _, moment = name.partition(".")
                moments.setdefault(int(number), {})[moment] = value
            self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
            self.done = int(said["done"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} is not a checkpoint of this lens ({error}); remove it and fit again.") from error
