"""Fit a lens once for each model, measure it on other prompts, and keep it.

1. A lens is named by all that decides it: the method and its options, the model, the prompts it is fitted to and those
   it is measured on. What was fitted before is read from the cache; what was stopped goes on from its checkpoint.
2. Its quality (`quality`) is measured on the prompts set apart, beside the logit lens and, where the method has one, a
   control that was fitted in the same way to what says nothing.

Neither set may be a locked test part, so that those are left for what is reported through the lens.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.lenses.lens import FILE, Lens
from probes.lenses.method import Lesson, lens_methods
from probes.lenses.quality import measure_lenses
from workbench.models import Subject
from workbench.prompts import Prompts, for_tuning
from workbench.runs import cache_root, digest_json, note

VERSION = 1  # of what a kept lens means
LOGIT, CONTROL = "logit lens", "shuffled targets"


def fitted_lens(
    subject: Subject, name: str, fit_on: Prompts, held_out: Prompts, *, options: Mapping[str, Any] | None = None
) -> Lens:
    """The lens of a registered method for this model, with its quality, where it is one that learns.

    Prompts that are in both sets are measured on alone. Raises PromptError where a set is locked, LensError where
    there are too few prompts to fit to.
    """
    method = lens_methods[name](**(options or {}))
    if not method.learns:
        found: Lens = method.fit(subject)
        return found
    held = for_tuning(held_out, "fitting a lens")
    taught = for_tuning(fit_on, "fitting a lens").without({prompt.digest for prompt in held})
    what = [VERSION, name, method.options, subject.identity, taught.digest, held.digest]
    folder = cache_root() / "lenses" / digest_json(what)[:32]
    if (folder / FILE).exists():
        note(f"This {name} lens was fitted before; it is in {folder}.")
        return Lens.load(folder)
    return _fitted(subject, method, taught, held, folder)


def _fitted(subject: Subject, method: Any, taught: Prompts, held: Prompts, folder: Path) -> Lens:
    checkpoints = [folder / f"{part}.checkpoint.safetensors" for part in ("lens", "control")]
    lesson = Lesson(taught, checkpoints[0])
    lens = method.fit(subject, lesson)
    lenses = {f"{lens.method} lens": lens, LOGIT: lens_methods["logit"]().fit(subject)}
    if (control := method.control()) is not None:
        lenses[CONTROL] = control.fit(subject, lesson.kept_at(checkpoints[1]))
    quality = measure_lenses(subject, lenses, held)
    made: Lens = replace(lens, quality=quality)
    made.save(folder / FILE)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return made
