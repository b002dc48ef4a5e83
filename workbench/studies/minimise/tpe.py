"""The second opinion: the same strengths by trial and error, as Optuna's TPE finds them, without a gradient.

The space is that of the gradient with its directions left where they start; each trial is the same loss on a fixed draw
of the training prompts. What is reported is the front of all trials on that draw, and, on the validation prompts, the
one that is best by the loss: the same data as for the gradient, and a wall time beside it.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from workbench.errors import UsageError
from workbench.runs import RunFolder, track
from workbench.studies.minimise.dials import COMPONENTS, Dials, Start
from workbench.studies.minimise.front import Point, pareto
from workbench.studies.minimise.lessons import Lessons
from workbench.studies.minimise.settings import MinimiseSettings

JOURNAL = "trials.jsonl"
_LOW, _HIGH = -0.5, 1.5
_DRAWN = 32  # prompts of each kind


class Trial(BaseModel):
    """One set of strengths, with its refusal metric and KL on the draw, and the seconds that it took."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    strengths: dict[str, float]
    metric: float
    kl: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class SecondOpinion:
    """All trials, and the best of them on the validation prompts."""

    trials: list[Trial]
    point: Point

    def to_json(self) -> dict[str, Any]:
        front = pareto([(trial.metric, trial.kl) for trial in self.trials])
        return {
            "trials": len(self.trials),
            "seconds": round(sum(trial.seconds for trial in self.trials), 1),
            "front": [{"metric": self.trials[i].metric, "kl": self.trials[i].kl} for i in front],
            "best": self.point.to_json(),
        }


def second_opinion(
    start: Start, learned: Lessons, held: Lessons, settings: MinimiseSettings, folder: RunFolder | None = None
) -> SecondOpinion:
    """Search the strengths by TPE; trials that were made before are told to it again.

    Raises UsageError where Optuna is not installed.
    """
    study = _study()
    drawn, first = _draw(learned, settings), start.dials()
    trials = folder.journal(JOURNAL, Trial) if folder else []
    for trial in trials[: settings.trials]:
        _tell(study, trial)
    for number in track(range(len(trials), settings.trials), "Asking for a second opinion"):
        begun = time.perf_counter()
        study.sampler = _sampler(settings.seed, number)
        asked = study.ask(_space(len(first.strengths)))
        trial = _tried(start, drawn, _dials(asked.params, first), asked.params, settings)
        trial.seconds = round(time.perf_counter() - begun, 3)
        study.tell(asked, trial.loss)
        trials.append(trial)
        if folder is not None:
            folder.log(JOURNAL, trial.model_dump(mode="json"))
    best = min(trials, key=lambda trial: trial.loss)
    dials = _dials(best.strengths, first)
    refusal, damage = held.measure(start.recipe(held.subject, dials), settings.batch_size)
    point = Point(step=trials.index(best), refusal=refusal, damage=damage, strengths=dials.strengths.tolist())
    return SecondOpinion(trials, point)


def _sampler(seed: int, number: int) -> Any:
    """A trial's own, so that it is the same whether those before it were made now or before a stop."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.default_rng([seed, number]).integers(2**31)))


def _study() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "A second opinion needs Optuna: pip install 'alignment-workbench[search]', or leave it out."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study()


def _space(layers: int) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    names = (f"{layer}.{component}" for layer in range(layers) for component in COMPONENTS)
    return {name: FloatDistribution(_LOW, _HIGH) for name in names}


def _tell(study: Any, trial: Trial) -> None:
    from optuna.trial import create_trial

    space = _space(len(trial.strengths) // len(COMPONENTS))
    study.add_trial(create_trial(params=trial.strengths, distributions=space, value=trial.loss))


def _dials(strengths: dict[str, float], first: Dials) -> Dials:
    rows = [[strengths[f"{layer}.{name}"] for name in COMPONENTS] for layer in range(len(first.strengths))]
    return Dials(torch.tensor(rows), first.directions)


def _draw(learned: Lessons, settings: MinimiseSettings) -> Lessons:
    generator = np.random.default_rng([settings.seed, 0])
    harmful, harmless = (
        generator.choice(len(rows), min(_DRAWN, len(rows)), replace=False).tolist()
        for rows in (learned.harmful, learned.harmless)
    )
    return Lessons(
        learned.subject,
        learned.tokens,
        [learned.harmful[i] for i in harmful],
        [learned.harmless[i] for i in harmless],
        learned.base[harmless],
    )


def _tried(
    start: Start, drawn: Lessons, dials: Dials, strengths: dict[str, float], settings: MinimiseSettings
) -> Trial:
    metrics, kls = drawn.measure(start.recipe(drawn.subject, dials), settings.batch_size)
    metric, kl = float(np.mean(metrics)), float(np.mean(kls))
    refusal = float(np.mean(np.logaddexp(0.0, np.array(metrics) + settings.margin)))
    loss = refusal + settings.damage_weight * kl
    return Trial(strengths=strengths, metric=metric, kl=kl, loss=loss, seconds=0.0)
