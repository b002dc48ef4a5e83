"""The course of training: epochs over whole texts, the best kept, and a checkpoint after each.

1. Adam on batches of whole texts, in another order each epoch; the probability of teaching and the rate fall from epoch
   to epoch.
2. After each epoch the losses on validation texts; the best epoch is kept, and where none was better for some epochs
   training ends.

Every epoch draws from its own seed, so that a course that goes on from its checkpoint is the one that was not stopped.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.concepts.learner import Learner, Losses
from workbench.concepts.settings import ConceptSettings
from workbench.concepts.taught import Taught
from workbench.errors import RunError
from workbench.models import Head
from workbench.runs import digest_tensors, track, writing

_KEY = "course"


@dataclass
class Progress:
    """How far a course has come: epochs done, their losses, the best validation loss and the epochs since."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = float("inf")
    since: int = 0

    def add(self, losses: dict[str, Any]) -> bool:
        """Note an epoch; whether it was the best so far."""
        self.history.append(losses)
        total = sum(losses["validation"].values())
        better = total < self.best
        self.best, self.since = (total, 0) if better else (self.best, self.since + 1)
        return better


class Course:
    """A learner on its way through the epochs."""

    def __init__(self, learner: Learner, head: Head | None, checkpoint: Path | None = None) -> None:
        self.learner, self.how = learner, learner.settings
        self.losses = Losses(learner, head)
        self.optimiser = torch.optim.AdamW(learner.parameters(), lr=self.how.rate, weight_decay=self.how.decay)
        self.progress, self.checkpoint = Progress(), checkpoint
        self.best, self._of = self._learned(), ""

    def run(self, train: Taught, held: Taught) -> tuple[dict[str, Any], ...]:
        """Epoch after epoch, until validation is no longer better; the learner ends as it was at the best.

        Raises RunError where the checkpoint is of something else.
        """
        sides = {"train": train, "held": held}
        self._of = digest_tensors({name: torch.from_numpy(texts.labels) for name, texts in sides.items()})
        if self.checkpoint is not None and self.checkpoint.exists():
            self._load(self.checkpoint)
        else:
            _begin(self.learner, train)
        for epoch in track(range(len(self.progress.history), self.how.epochs), "Training the bottleneck"):
            if self.progress.since >= self.how.patience:
                break
            if self.progress.add(self._epoch(epoch, train, held)):
                self.best = self._learned()
            if self.checkpoint is not None:
                self._save(self.checkpoint)
        self.learner.load_state_dict(self.best)
        return tuple(self.progress.history)

    def _epoch(self, epoch: int, train: Taught, held: Taught) -> dict[str, Any]:
        how, done = self.how, epoch / self.how.epochs
        taught = how.taught_last + (how.taught_first - how.taught_last) * (1 - done)
        for group in self.optimiser.param_groups:
            group["lr"] = how.rate * (1 - done)
        self.losses.draw_from(how.seed, epoch)
        orders = _orders(len(train), how, epoch)
        learned = [self._step(train, rows, taught) for rows in orders]
        with torch.no_grad():
            seen = [self.losses(lesson, 0.0) for lesson in held.lessons(how.batch)]
        return {"epoch": epoch, "train": _mean(learned), "validation": _mean(seen)}

    def _step(self, train: Taught, rows: list[int], taught: float) -> dict[str, Tensor]:
        self.optimiser.zero_grad()
        found = self.losses(train.lesson(rows), taught)
        torch.stack(list(found.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        return {name: value.detach() for name, value in found.items()}

    def _learned(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    def _save(self, path: Path) -> None:
        """The learner, the best so far and the optimiser's moments, whole or not at all."""
        held = {f"now.{name}": value for name, value in self._learned().items()}
        held |= {f"best.{name}": value for name, value in self.best.items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            held |= {f"moment.{number}.{name}": value for name, value in moments.items()}
        said = {"settings": self.how.model_dump(), "labels": self._of, "progress": asdict(self.progress)}
        with writing(path) as draft:
            save_file({name: value.contiguous() for name, value in held.items()}, draft, {_KEY: json.dumps(said)})

    def _load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                said = json.loads(file.metadata()[_KEY])
                held = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if (said["settings"], said["labels"]) != (self.how.model_dump(), self._of):
                raise ValueError("other settings or labels")
            self.progress = Progress(**said["progress"])
            self.learner.load_state_dict(_below(held, "now."))
            self.best = _below(held, "best.")
            self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": _moments(held)})
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} is not this course's checkpoint ({error}); remove it and train again.") from error


def _below(held: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}


def _moments(held: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(held, "moment.").items():
        number, _, moment = name.partition(".")
        found.setdefault(int(number), {})[moment] = value
    return found


def _begin(learner: Learner, train: Taught) -> None:
    """Known vectors begin as the gap between texts that show the concept and near misses."""
    with torch.no_grad():
        means = train.averaged(lambda x: x)
        labels = torch.from_numpy(train.labels)
        for concept in range(labels.shape[1]):
            shown, other = (means[labels[:, concept] == value] for value in (1, 0))
            if len(shown) and len(other):
                learner.vectors[concept] = shown.mean(dim=0) - other.mean(dim=0)


def _orders(n: int, how: ConceptSettings, epoch: int) -> Iterator[list[int]]:
    order = np.random.default_rng((how.seed, epoch)).permutation(n).tolist()
    for start in range(0, n, how.batch):
        if len(order[start : start + how.batch]) > 1:
            yield order[start : start + how.batch]


def _mean(found: list[dict[str, Tensor]]) -> dict[str, float]:
    return {name: float(torch.stack([each[name] for each in found]).mean()) for name in found[0]}
