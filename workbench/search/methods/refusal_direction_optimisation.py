"""Refusal direction optimisation: a direction found by gradient (RDO, Wollschlaeger et al. 2025, arXiv:2502.17420).

1. Start where a first-order screen of the train prompts puts the difference in means first.
2. Let the model write the lessons: under that direction ablated, added, and under nothing (`search.lessons`).
3. Step the unit vector down the loss (AdamW, 1e-2); it stays a unit vector, and its scale stays that of the start.
4. Every few steps, measure the loss on lessons kept apart; the vector with the smallest one is the candidate.

What is ablated and added is placed as it is at use. Each step's gradient is written down, so that a run that was
stopped replays its steps in no time and goes on.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn.functional import normalize

from workbench.activations import Positions, capture
from workbench.directions import Direction
from workbench.runs import note, track
from workbench.search.choosing import last_layer
from workbench.search.lessons import Lessons
from workbench.search.methods import Task, methods
from workbench.search.scoring import Candidates, Place, Scorer
from workbench.search.screening import screen

NAME = "refusal-direction-optimisation"
JOURNAL = "optimisation.jsonl"
RATE, BETAS = 1e-2, (0.9, 0.98)  # the paper's
STEPS, CHECK = 48, 8  # the loss on lessons kept apart is measured every CHECK steps
BATCH = 8  # prompts of each kind in a step
HELD = 4  # of them whose activations are held for the backward pass
MOST = 64  # train prompts of each side
APART = 0.25  # of the lessons
SCREENED = 8  # train prompts of each side in the screen


class Step(BaseModel):
    """One step: its loss and gradient, and the loss on the lessons kept apart where it was measured."""

    model_config = ConfigDict(extra="forbid")

    loss: float
    gradient: list[float]
    apart: float | None


@methods.register(NAME)
def refusal_direction_optimisation(task: Task) -> Candidates:
    """One direction, optimised from the most promising difference in means."""
    few = (side.sample(MOST, task.settings.seed) for side in (task.train.positive, task.train.negative))
    task = replace(task, train=type(task.train)(*few))
    (position, site), start = _start(task)
    lessons = Lessons.written(task.subject, task.train, start, task.settings.batch_size)
    unit = _Descent(task, start, *lessons.split(APART)).run()
    positions: Positions = "mean" if position is None else (position,)
    harmless = capture(task.subject, task.train.negative, sites=[site], positions=positions).at(site, position)
    origin = float(harmless.double().mean(dim=0) @ unit.double())
    return {(position, site): replace(start, unit=unit, origin=origin, method=NAME)}


def _start(task: Task) -> tuple[Place, Direction]:
    """The place and direction whose ablation promises the smallest refusal metric on train prompts."""
    candidates = task.extracted("difference-in-means")
    late = last_layer(task.subject.n_layers, task.settings.drop_last)
    early = {place: found for place, found in candidates.items() if place[1].layer < late} or candidates
    scorer = Scorer.prepare(task.subject, task.train, task.tokens, task.settings.batch_size, task.settings.seed)
    guesses = screen(scorer, early, SCREENED)
    place = min(guesses, key=lambda each: guesses[each].bypass)
    note(f"Optimising from the difference in means at position {place[0]}, {place[1]}.")
    return place, early[place]


@dataclass
class _Descent:
    """The vector on its way down, and the best that it was."""

    task: Task
    start: Direction
    learned: Lessons
    apart: Lessons
    vector: torch.nn.Parameter = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.vector = torch.nn.Parameter(self.start.unit.clone())
        self.optimiser = torch.optim.AdamW([self.vector], lr=RATE, betas=BETAS, weight_decay=0.0, amsgrad=True)

    def run(self) -> Float[Tensor, " d_model"]:
        """The unit vector with the smallest loss on the lessons kept apart; the start is one of them."""
        folder = self.task.folder
        done = folder.journal(JOURNAL, Step) if folder else []
        found = [(self._left(), self.vector.detach().clone())]
        for number in track(range(STEPS), "Optimising the direction"):
            step = done[number] if number < len(done) else self._measured(number)
            self._take(step)
            if (number + 1) % CHECK == 0:
                step.apart = self._left() if step.apart is None else step.apart
                found.append((step.apart, self.vector.detach().clone()))
            if folder is not None and number >= len(done):
                folder.log(JOURNAL, step.model_dump(mode="json"))
        losses = [loss for loss, _ in found]
        note(f"Loss on the lessons kept apart: {losses[0]:.3f} at the start, {min(losses):.3f} at best.")
        return found[losses.index(min(losses))][1]

    def _measured(self, number: int) -> Step:
        lessons = self.learned.drawn(BATCH, self.task.settings.seed, number)
        loss, gradient = lessons.slope(self.task.subject, self.start, self.vector, HELD)
        return Step(loss=loss, gradient=gradient.tolist(), apart=None)

    def _take(self, step: Step) -> None:
        self.vector.grad = torch.tensor(step.gradient)
        self.optimiser.step()
        self.vector.data = normalize(self.vector.data, dim=0)

    def _left(self) -> float:
        return self.apart.loss(self.task.subject, self.start, self.vector, BATCH)
