"""Fit a probe at one place: measure on held-out topics, then fit once more to all prompts.

The measures are of the folds' probes; the one that is handed back has seen all prompts, and is measured on none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int

from probes.linear.controls import compared, controls_of
from probes.linear.folds import require_classes, topic_groups
from probes.linear.method import Method, fit_line, methods
from probes.linear.probe import Probe, Quality
from probes.linear.reading import threshold_at, topic_draws
from probes.linear.settings import ProbeSettings
from probes.linear.surface import Surface
from probes.linear.validation import HeldOut, alarms, calibration, chosen_candidate, held_out, platt
from workbench.activations import Activations, Positions, capture
from workbench.errors import ProbeError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, for_tuning

_WHAT = "A probe"


@dataclass(frozen=True, eq=False)
class Examples:
    """Activations of two classes at one place of a model, with what their prompts show on the surface."""

    x: Float64[np.ndarray, "n d_model"]
    positive: Bool[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    surface: Surface
    site: Site
    position: int | None
    model_name: str
    model_digest: str
    seen: frozenset[str]


def train_probe(
    subject: Subject,
    pairs: ContrastPairs,
    site: Site,
    *,
    position: int | None = -1,
    method: Method | str = "logistic",
    settings: ProbeSettings | None = None,
    batch_size: int = 32,
) -> Probe:
    """Capture `pairs` at a site and a position (None: the mean over the prompt), and fit a probe there.

    Raises ProbeError where there is one class only, fewer prompts or topics than folds, or activations that are all
    the same; PromptError where a side is a test part.
    """
    prompts, positive = both_sides(pairs)
    require_classes(positive, topic_groups(prompts, positive), (settings or ProbeSettings()).folds)
    where: Positions = "mean" if position is None else (position,)
    acts = capture(subject, prompts, sites=[site], positions=where, batch_size=batch_size)
    return fit_probe(examples_of(subject, prompts, positive, acts, site, position), method, settings)


def both_sides(pairs: ContrastPairs) -> tuple[Prompts, Bool[np.ndarray, " n"]]:
    """Both classes in one set, the positive ones first; PromptError where one is a test part."""
    sides = [for_tuning(side, _WHAT) for side in (pairs.positive, pairs.negative)]
    return Prompts((*sides[0], *sides[1]), "both classes"), np.arange(sum(map(len, sides))) < len(sides[0])


def examples_of(
    subject: Subject, prompts: Prompts, positive: Bool[np.ndarray, " n"], acts: Activations, site: Site,
    position: int | None,
) -> Examples:  # fmt: skip
    """The examples of one place of activations that are there already."""
    x = acts.at(site, position).double().numpy()
    seen = frozenset(prompt.digest for prompt in prompts)
    groups, surface = topic_groups(prompts, positive), Surface.of(subject, prompts)
    return Examples(x, positive, groups, surface, site, position, subject.name, subject.digest, seen)


def fit_probe(
    examples: Examples, method: Method | str = "logistic", settings: ProbeSettings | None = None,
    quality: Quality | None = None,
) -> Probe:  # fmt: skip
    """Measure a method on held-out topics, unless its quality is known, and fit it to all examples.

    Raises ProbeError as `train_probe` does.
    """
    how = settings or ProbeSettings()
    require_readable(examples.x, f"{examples.site}")
    made = methods[method]() if isinstance(method, str) else method
    candidates = made.candidates()
    x, positive, groups = examples.x, examples.positive, examples.groups
    held = held_out(candidates, x, positive, groups, how)
    quality = quality or measured(examples, held, made, how)
    line = fit_line(candidates[chosen_candidate(candidates, x, positive, groups, how)], x, positive)
    length = float(np.linalg.norm(line.weight))
    unit = torch.from_numpy(line.weight / length).float()
    along = x @ unit.double().numpy()
    origin = float(along[~positive].mean())
    scale, bias = float(along[positive].mean()) - origin, line.bias / length
    slope, intercept = platt(held.decisions, positive)
    alarm = threshold_at(held.decisions[~positive], how.false_alarms)
    return Probe(
        unit, bias, alarm * scale + origin + bias, origin, scale, slope, intercept, examples.site, examples.position,
        methods.name_of(made), examples.model_name, examples.model_digest, quality, examples.seen,
    )  # fmt: skip


def measured(examples: Examples, held: HeldOut, method: Method, how: ProbeSettings) -> Quality:
    """What the held-out decisions, and those of the controls, say."""
    draws = topic_draws(examples.groups, how.seed)
    controls = controls_of(method.candidates(), examples.x, held, examples.groups, examples.surface, how)
    auroc, beside, gains = compared(held, controls, draws)
    detected, false = alarms(held, how.false_alarms, draws)
    return Quality(
        auroc=auroc, controls=beside, gains=gains, calibration_error=calibration(held, draws), detected=detected,
        false_alarms=false, rate_asked=how.false_alarms, topics=len(set(examples.groups.tolist())),
    )  # fmt: skip


def require_readable(x: Float64[np.ndarray, "n d_model"], where: str) -> None:
    """Raise ProbeError where a value is not a finite number, or all examples are the same."""
    broken = int((~np.isfinite(x).all(axis=1)).sum())
    if broken:
        raise ProbeError(f"{broken} of {len(x)} vectors at {where} are not finite; capture again with --dtype float32.")
    if (x == x[0]).all():
        raise ProbeError(
            f"All {len(x)} vectors at {where} are the same, so every feature is constant; give another position or a "
            "later site."
        )
