"""The audit of a checkpoint, in sweeps over the files of both.

1. Every tensor is compared; of those that changed, size and spectrum (`comparing`, `spectra`).
2. All changed matrices that write to the stream are seen through the directions that changed most in them together,
   and the map that explains the change is looked for (`tracing`).
3. What was found is named (`verdict`), and of an edit along one direction it is asked what its form is (`forms`),
   and what was added beside it (`additions`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.directions import Direction, orthonormal
from workbench.errors import DirectionError
from workbench.runs import track
from workbench.statistics import mean_score
from workbench.weights.audit.additions import Shift, bias_shifts, embedding_shift, one_added
from workbench.weights.audit.calibration import calibration
from workbench.weights.audit.comparing import Compared, compare
from workbench.weights.audit.finding import Found, find_edits
from workbench.weights.audit.forms import form_of
from workbench.weights.audit.lowrank import low_ranks
from workbench.weights.audit.notes import notes_of
from workbench.weights.audit.pairing import Opened, open_both
from workbench.weights.audit.report import Audit, Likeness, chance, dose_of, matrices_of, tensors_of
from workbench.weights.audit.spectra import Pool
from workbench.weights.audit.tracing import Seen, Trace, traces, traces_along
from workbench.weights.audit.verdict import verdict_of


def audit_weights(suspect: str, base: str, *, direction: Direction | None = None) -> Audit:
    """What was done to `suspect`, a version of `base`; both are names as everywhere, and neither is opened or run.

    With a `direction` of the base, what was found is compared with it. Raises ModelError where the suspect is no
    version of the base, or a file is damaged; DirectionError where the direction is of another width.
    """
    opened = open_both(suspect, base)
    _require_width(direction, opened)
    swept = _sweep(opened)
    found = find_edits(swept.changed, swept.traces, swept.basis, calibration().limits)
    shifts = list(_shifts(opened, swept))
    added = None if len(found.units) else one_added(swept.compared, shifts)
    units = found.units if added is None else added[None]
    others = [one.pair for one in swept.compared if one.changed and one.is_matrix]
    ranks = () if len(units) else low_ranks(others)
    matrices = matrices_of(swept.changed, found)
    dose = dose_of(matrices)
    return Audit(
        suspect=opened.suspect.name,
        base=opened.base.name,
        verdict=verdict_of(swept.compared, len(units), ranks),
        fit=found.together,
        fit_alone=found.alone,
        calibration=calibration(),
        directions=units,
        form=_form(swept.changed, found),
        ranks=ranks,
        added={one.writer: far for one in shifts if len(units) and (far := one.along(units[0], dose))},
        likeness=_likeness(direction, units, swept.changed),
        tensors=tensors_of(swept.compared),
        matrices=matrices,
        notes=tuple(notes_of(opened, swept.compared, found, direction)),
    )


@dataclass(frozen=True, eq=False)
class _Swept:
    """What two sweeps leave: all tensors, the writers that changed, and how these are seen through a basis."""

    compared: list[Compared]
    changed: list[Compared]
    basis: Float[Tensor, "d_model k"]
    seen: list[Seen]
    traces: list[Trace]


def _sweep(opened: Opened) -> _Swept:
    pool = Pool()
    compared = [compare(part, pool) for part in track(opened.parts, "Comparing tensors")]
    changed = [one for one in compared if one.part.writer is not None and one.changed]
    if not changed:
        return _Swept(compared, [], torch.zeros(opened.d_model, 0), [], [])
    basis = pool.leading()
    seen = [one.through(basis) for one in track(changed, "Tracing the change")]
    return _Swept(compared, changed, basis, seen, traces(seen))


def _shifts(opened: Opened, swept: _Swept) -> list[Shift]:
    biases = {writer.bias: str(writer) for writer in opened.writers if writer.bias is not None}
    embeddings = [(one, seen) for one, seen in zip(swept.changed, swept.seen, strict=True) if one.centred]
    return [
        *bias_shifts(swept.compared, biases),
        *(embedding_shift(one, seen.sums, swept.basis) for one, seen in embeddings),
    ]


def _form(changed: list[Compared], found: Found) -> str:
    if len(found.units) != 1:
        return ""
    only = found.traces[0]
    shown = zip(changed, only.doses, only.fits, strict=True)
    return form_of([(one, dose) for one, dose, fit in shown if found.is_edit(dose, fit)], found.units[0])


def _likeness(direction: Direction | None, units: Tensor, changed: list[Compared]) -> Likeness | None:
    """The direction that was given beside what was found, and what the changed writers show along it."""
    if direction is None:
        return None
    unit = direction.unit.float().cpu()
    cosine = float((orthonormal(units) @ unit).norm()) if len(units) else None
    shown = traces_along([one.through(unit[:, None]) for one in changed]) if changed else []
    dose = mean_score("dose along it", shown[0].doses) if shown else None
    return Likeness(repr(direction), cosine, chance(len(unit), max(len(units), 1)), dose)


def _require_width(direction: Direction | None, opened: Opened) -> None:
    if direction is not None and direction.width != opened.d_model:
        raise DirectionError(
            f"The direction is {direction.width} wide (from {direction.model_name}) and the stream of "
            f"{opened.base.name} is {opened.d_model} wide; give one of {opened.base.name}."
        )
