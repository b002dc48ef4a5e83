"""Refusal direction optimisation: a direction found by gradient (RDO, Wollschlaeger et al. 2025, arXiv:2502.17420).

1. Start where a screen of the train prompts puts the difference in means first.
2. Let the model write the lessons: under that direction ablated, added, and under nothing (`search.lessons`).
3. Go down the loss (`search.descent`); the vector stays a unit vector, and its scale stays that of the start.

What is ablated and added is placed as it is at use.
"""

from dataclasses import replace

import torch

from workbench.activations import Positions, capture
from workbench.directions import Direction
from workbench.errors import SearchError
from workbench.runs import note
from workbench.search.choosing import last_layer
from workbench.search.descent import Descent
from workbench.search.lessons import Lessons
from workbench.search.methods import Task, methods
from workbench.search.scoring import Candidates, Place, Scorer
from workbench.search.screening import screen

NAME = "refusal-direction-optimisation"
MOST = 64  # train prompts of each side
APART = 0.25  # of the lessons
SCREENED = 8  # train prompts of each side in the screen
_ALIKE = 0.99  # cosine from which two starts are one


@methods.register(NAME)
def refusal_direction_optimisation(task: Task) -> Candidates:
    """One direction, optimised from the most promising difference in means."""
    place, (direction,) = optimised(task, 1)
    return {place: replace(direction, method=NAME)}


def optimised(task: Task, dimension: int) -> tuple[Place, tuple[Direction, ...]]:
    """The orthonormal basis of a cone, optimised from the most promising differences in means, and its place."""
    few = (side.sample(MOST, task.settings.seed) for side in (task.train.positive, task.train.negative))
    task = replace(task, train=type(task.train)(*few))
    place, starts = _starts(task, dimension)
    lessons = Lessons.written(task.subject, task.train, starts[0], task.settings.batch_size)
    basis = Descent(task, starts[0], torch.stack([each.unit for each in starts]), *lessons.split(APART)).run()
    position, site = place
    positions: Positions = "mean" if position is None else (position,)
    harmless = capture(task.subject, task.train.negative, sites=[site], positions=positions).at(site, position)
    origins = (harmless.double().mean(dim=0) @ basis.double().T).tolist()
    found = [replace(starts[0], unit=unit, origin=origin) for unit, origin in zip(basis, origins, strict=True)]
    return place, tuple(found)


def _starts(task: Task, n: int) -> tuple[Place, list[Direction]]:
    """The place, and the `n` directions whose ablation promises the smallest refusal metric on train prompts."""
    candidates = task.extracted("difference-in-means")
    late = last_layer(task.subject.n_layers, task.settings.drop_last)
    early = {place: found for place, found in candidates.items() if place[1].layer < late} or candidates
    scorer = Scorer.prepare(task.subject, task.train, task.tokens, task.settings.batch_size, task.settings.seed)
    guesses = screen(scorer, early, SCREENED)
    best: list[Place] = []
    for place in sorted(guesses, key=lambda each: guesses[each].bypass):
        if len(best) < n and all(abs(float(early[place].unit @ early[other].unit)) < _ALIKE for other in best):
            best.append(place)
    if len(best) < n:
        raise SearchError(
            f"There are {len(best)} different directions to start from, and {n} axes were asked for; search more "
            "positions or layers, or ask for fewer axes."
        )
    note(f"Optimising from the difference in means at position {best[0][0]}, {best[0][1]}.")
    return best[0], [early[place] for place in best]
