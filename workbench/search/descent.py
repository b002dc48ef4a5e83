"""Down the loss of the lessons: a unit vector, or the basis of a cone, every direction of which shall do the same.

    each step     r = s B / |s B|,   s drawn from the positive orthant, or one of the basis in turn
                  B <- AdamW step down the loss of r, then Gram-Schmidt

(RDO and refusal cones, Wollschlaeger et al. 2025, arXiv:2502.17420; the rate and betas are theirs.) Every few steps the
loss on lessons kept apart is measured; the basis with the smallest one is kept. Each step's gradient is written down,
so that a run that was stopped replays its steps in no time and goes on.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from workbench.directions import Direction
from workbench.runs import note, track
from workbench.search.lessons import Lessons
from workbench.search.methods import Task

JOURNAL = "optimisation.jsonl"
RATE, BETAS = 1e-2, (0.9, 0.98)
STEPS, CHECK = 48, 8  # the loss on lessons kept apart is measured every CHECK steps
BATCH = 8  # prompts of each kind in a step
HELD = 4  # of them whose activations are held for the backward pass
SAMPLES = 2  # directions inside the cone that are judged beside its basis


class Step(BaseModel):
    """One step: its loss and gradient, and the loss on the lessons kept apart where it was measured."""

    model_config = ConfigDict(extra="forbid")

    loss: float
    gradient: list[float]
    apart: float | None


@dataclass
class Descent:
    """The basis [k d_model] on its way down; `start` says where its directions are added."""

    task: Task
    start: Direction
    first: Float[Tensor, "k d_model"]
    learned: Lessons
    apart: Lessons
    basis: torch.nn.Parameter = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.basis = torch.nn.Parameter(gram_schmidt(self.first))
        self.optimiser = torch.optim.AdamW([self.basis], lr=RATE, betas=BETAS, weight_decay=0.0, amsgrad=True)

    def run(self) -> Float[Tensor, "k d_model"]:
        """The orthonormal basis with the smallest loss on the lessons kept apart; the start is one of them."""
        folder = self.task.folder
        done = folder.journal(JOURNAL, Step) if folder else []
        found = [(self._left(), self.basis.detach().clone())]
        for number in track(range(STEPS), "Optimising the direction"):
            step = done[number] if number < len(done) else self._measured(number)
            self._take(number, step)
            if (number + 1) % CHECK == 0:
                step.apart = self._left() if step.apart is None else step.apart
                found.append((step.apart, self.basis.detach().clone()))
            if folder is not None and number >= len(done):
                folder.log(JOURNAL, step.model_dump(mode="json"))
        losses = [loss for loss, _ in found]
        note(f"Loss on the lessons kept apart: {losses[0]:.3f} at the start, {min(losses):.3f} at best.")
        return found[losses.index(min(losses))][1]

    def _measured(self, number: int) -> Step:
        lessons = self.learned.drawn(BATCH, self.task.settings.seed, number)
        vector = self._weights(number) @ self.basis.detach()
        loss, gradient = lessons.slope(self.task.subject, self.start, vector, HELD)
        return Step(loss=loss, gradient=gradient.tolist(), apart=None)

    def _take(self, number: int, step: Step) -> None:
        """The slope of the drawn direction, handed to the basis by its weights."""
        self.basis.grad = torch.outer(self._weights(number), torch.tensor(step.gradient))
        self.optimiser.step()
        self.basis.data = gram_schmidt(self.basis.data)

    def _weights(self, number: int) -> Float[Tensor, " k"]:
        """Those of a direction inside the cone, and of one of the basis, in turn; its length is 1."""
        k = len(self.basis)
        if k == 1 or number % 2:
            return torch.eye(k)[number // 2 % k]
        return drawn_weights(k, self.task.settings.seed, number)

    def _left(self) -> float:
        """The mean over the basis, and over a few directions inside the cone, which are always the same."""
        k = len(self.basis)
        inside = [] if k == 1 else [drawn_weights(k, self.task.settings.seed, -1 - i) for i in range(SAMPLES)]
        vectors = torch.stack([*torch.eye(k), *inside]) @ self.basis.detach()
        losses = [self.apart.loss(self.task.subject, self.start, vector, BATCH) for vector in vectors]
        return sum(losses) / len(losses)


def drawn_weights(k: int, seed: int, number: int) -> Float[Tensor, " k"]:
    """A direction drawn from the positive orthant of a cone with `k` orthonormal axes."""
    generator = np.random.default_rng([seed, k, number + 2**16])
    weights = np.abs(generator.normal(size=k))
    return torch.tensor(weights / np.linalg.norm(weights), dtype=torch.float32)


def gram_schmidt(basis: Float[Tensor, "k d_model"]) -> Float[Tensor, "k d_model"]:
    """Orthonormal rows, each as near to what it was as those before it allow."""
    rows: list[Tensor] = []
    for row in basis.double():
        for before in rows:
            row = row - (row @ before) * before
        rows.append(row / row.norm())
    return torch.stack(rows).float()
