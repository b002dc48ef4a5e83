"""Down the loss by gradient, through the edited forward pass: the whole trace of it is the front.

    loss = mean softplus(metric + margin)  over harmful prompts
         + w * mean KL(base || edited)     over harmless prompts

Adam on the strengths and, if asked, on the directions, each step on other prompts of the training set. Where a batch's
KL is above the budget, w grows; so the budget is held, and below it damage is still paid for. The weights of the model
ask for no gradient, and what all prompts begin with is read once: a step costs about two plain passes. Every few
steps the dials are measured on the validation prompts, and written down, so that a run that was stopped goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import softplus

from workbench.errors import RunError, SearchError
from workbench.evaluation.refusal import refusal_metric
from workbench.runs import RunFolder, track, writing
from workbench.studies.minimise.dials import Dials, Start
from workbench.studies.minimise.front import Front, Point
from workbench.studies.minimise.lessons import Lessons
from workbench.studies.minimise.settings import MinimiseSettings

JOURNAL = "front.jsonl"
_BETAS = (0.8, 0.95)  # two dozen steps have no time for a long memory
_GROWTH = 0.1  # of the damage's weight a step, for each budget that the KL is above its own


@dataclass
class Descent:
    """Dials on their way down."""

    start: Start
    learned: Lessons
    held: Lessons
    settings: MinimiseSettings
    folder: RunFolder | None = None
    weight: float = field(init=False)
    dials: Dials = field(init=False)
    optimiser: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        first = self.start.dials()
        self.weight = self.settings.damage_weight
        learn = self.settings.learn_directions
        self.dials = Dials(first.strengths.requires_grad_(True), first.directions.requires_grad_(learn))
        groups = [{"params": [self.dials.strengths], "lr": self.settings.strength_rate}]
        if learn:
            groups.append({"params": [self.dials.directions], "lr": self.settings.direction_rate})
        self.optimiser = torch.optim.Adam(groups, betas=_BETAS)

    def run(self) -> tuple[list[Point], dict[int, Dials]]:
        """The points in order, the unedited model first, and the dials of each.

        Raises SearchError where the model refuses nothing as it is.
        """
        points = self.folder.journal(JOURNAL, Point) if self.folder else []
        found = {point.step: self._kept(point.step) for point in points}
        if points:
            self._resume(points[-1].step)
        for step in track(range(self.settings.steps + 1), "Learning the least damage"):
            if points and step <= points[-1].step:
                continue
            if step > 0:
                self._take(step)
            if step % self.settings.every == 0 or step == self.settings.steps:
                found[step] = self.dials.detached()
                points.append(self._measured(step, found[step]))
            if step == 0:
                self._require_refusal(points[0])
        return points, found

    def _require_refusal(self, unedited: Point) -> None:
        if Front([unedited], self.settings).is_enough(unedited):
            raise SearchError(
                f"{self.held.subject.name} begins none of its replies to {len(unedited.refusal)} harmful validation "
                "prompts as a refusal, so that there is nothing to remove; give prompts that it refuses."
            )

    def _take(self, step: int) -> None:
        """One step down the loss on a batch of its own."""
        harmful, harmless = self._drawn(step)
        rows = [self.learned.harmful[i] for i in harmful] + [self.learned.harmless[i] for i in harmless]
        subject = self.learned.subject
        with subject.frozen(), subject.hooked(self.dials.hooks()):
            logits = subject.last_logits([subject.batch(rows)], gradients=True)[0]
            metric = refusal_metric(logits[: len(harmful)], self.learned.tokens)
            damage = self.learned.damage(harmless, logits[len(harmful) :]).mean()
            loss = softplus(metric + self.settings.margin).mean() + self.weight * damage
            self.optimiser.zero_grad()
            loss.backward()
        for group, rate in zip(self.optimiser.param_groups, self._rates(step), strict=False):
            group["lr"] = rate
        self.optimiser.step()
        self.weight *= 1.0 + _GROWTH * max(0.0, float(damage.detach()) / self.settings.budget - 1.0)

    def _rates(self, step: int) -> tuple[float, float]:
        left = (1.0 - (step - 1) / self.settings.steps) ** 0.5
        return self.settings.strength_rate * left, self.settings.direction_rate * left

    def _drawn(self, step: int) -> Iterator[list[int]]:
        """The prompts of a step: the same ones whenever it is taken."""
        generator = np.random.default_rng([self.settings.seed, step])
        for rows in (self.learned.harmful, self.learned.harmless):
            size = min(self.settings.batch, len(rows))
            yield [int(i) for i in generator.choice(len(rows), size, replace=False)]

    def _measured(self, step: int, dials: Dials) -> Point:
        recipe = self.start.recipe(self.held.subject, dials)
        refusal, damage = self.held.measure(recipe, self.settings.batch_size)
        point = Point(step=step, refusal=refusal, damage=damage, strengths=dials.strengths.tolist())
        if self.folder is not None:
            self._keep(step, dials)
            self.folder.log(JOURNAL, point.model_dump(mode="json"))
        return point

    def _keep(self, step: int, dials: Dials) -> None:
        """Write the dials and all that the next step needs."""
        state = {f"{i}.{name}": value for i, each in self._states() for name, value in each.items()}
        own = {"directions": self.dials.directions.detach(), "weight": torch.tensor(self.weight, dtype=torch.float64)}
        with writing(self._file(step)) as draft:
            save_file({"strengths": dials.strengths, "units": dials.directions, **own, **state}, draft)

    def _kept(self, step: int) -> Dials:
        tensors = self._read(step)
        return Dials(tensors["strengths"], tensors["units"])

    def _resume(self, step: int) -> None:
        """Stand where the run was when it had taken `step`."""
        tensors = self._read(step)
        self.weight = float(tensors["weight"])
        with torch.no_grad():
            self.dials.strengths.copy_(tensors["strengths"])
            self.dials.directions.copy_(tensors["directions"])
        for index, each in enumerate(self._learned()):
            kept = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{index}.")}
            if kept:
                self.optimiser.state[each] = kept

    def _learned(self) -> list[Tensor]:
        return [each for group in self.optimiser.param_groups for each in group["params"]]

    def _states(self) -> list[tuple[int, dict[str, Tensor]]]:
        return [(index, self.optimiser.state.get(each, {})) for index, each in enumerate(self._learned())]

    def _file(self, step: int) -> Path:
        assert self.folder is not None
        return self.folder.path / f"dials-{step:03}.safetensors"

    def _read(self, step: int) -> dict[str, Tensor]:
        try:
            found: dict[str, Tensor] = load_file(self._file(step))
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"{self._file(step)} is missing or damaged ({error}); remove the run and start again."
            ) from error
        return found
