"""A certificate: by how much the logits of an export, read again, differ from those of the live edit.

1. The export is opened in a fresh process by plain transformers (`fresh`), or its recipe is read back.
2. The same prompts are read there and here, one by one and without padding. Here it is the model under the recipe's
   hooks; or under the live edit of its weights, where that is another thing (preserved norms).
3. The figures are held against what rounding may do in the dtype (`agreement`). The unedited model is compared too: it
   has to be further away, or what was exported is not the edit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.display import Shown
from workbench.errors import ModelError
from workbench.interventions import Placement, Recipe, steered
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.runs import track, versions
from workbench.weights.applying import edited
from workbench.weights.certificates.agreement import Agreement, Comparing
from workbench.weights.certificates.fresh import Reloaded, reloaded
from workbench.weights.certificates.rounding import rounded_anew
from workbench.weights.certificates.rows import Row, certificate_rows
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.export import Export, exports

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Certificate(Shown):
    """What was compared and allowed; the export, the unedited model, and the live edit `rounded` once more."""

    format: str
    weight_edit: str
    dtype: str
    reference: str
    reloaded_by: str
    versions: Mapping[str, str]
    model: Mapping[str, str]
    recipe: Mapping[str, str]
    prompts: Mapping[str, Any]
    export: Agreement
    unedited: Agreement
    rounded: Agreement
    tolerance: Mapping[str, float]

    def __repr__(self) -> str:
        at = f"{self.export.positions} positions of {self.prompts['n']} prompts"
        return f"Certificate({self.format}, max |difference| {self.export.max_difference:.2g} at {at}, {self.dtype})"

    def to_json(self) -> dict[str, Any]:
        """The certificate as JSON."""
        return {"schema_version": 1} | asdict(self)

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a measure of agreement: of the export, of the unedited model, and what is allowed."""
        import pandas

        of = {"export": asdict(self.export), "unedited": asdict(self.unedited), "allowed": dict(self.tolerance)}
        return pandas.DataFrame(of).rename_axis("measure").reset_index()

    def require(self, recipe: Recipe) -> None:
        """Raise ModelError where the export is not the edit."""
        faults = self.export.beyond(self.tolerance)
        if any(_always_acts(placement) for placement in recipe.placements):
            faults += self._unseen()
        if faults:
            raise ModelError(
                f"The {self.format} export, read again by {self.reloaded_by}, is not the live edit: "
                f"{'; '.join(faults)} ({self.export.positions} positions of {self.prompts['n']} prompts, "
                f"{self.dtype}). Nothing was kept."
            )

    def _unseen(self) -> list[str]:
        """What does not show that the edit is there."""
        here, plain = self.export, self.unedited
        if plain.max_difference > here.max_difference and plain.mean_difference > here.mean_difference:
            return []
        return [f"the unedited model is as near to it (mean |difference| {plain.mean_difference:.3g})"]


def certify(
    subject: Subject, recipe: Recipe, form: Export, edit: WeightEdit, folder: Path, prompts: Prompts, scratch: Path
) -> Certificate:
    """Read the export in `folder` again, and compare it. `scratch` is a folder for logits on their way.

    Raises ModelError where it cannot be read. Whether it agrees is for `Certificate.require` to say.
    """
    rows = certificate_rows(subject, prompts)
    again = _read_again(subject, form, folder, rows, scratch)
    _write_logits(subject, Recipe(), rows, scratch, "unedited")
    export, unedited, rounded = _figures(subject, recipe, edit, rows, again, scratch)
    return Certificate(
        format=exports.name_of(form),
        weight_edit=weight_edits.name_of(edit),
        dtype=str(subject.dtype).removeprefix("torch."),
        reference="the model under the recipe's hooks" if edit.exact else "the model with edited weights",
        reloaded_by=again.by,
        versions=again.versions,
        model=subject.identity | {"origin": subject.origin},
        recipe={"written": str(recipe), "digest": recipe.digest},
        prompts={"name": prompts.name, "digest": prompts.digest, "n": len(prompts)},
        export=export,
        unedited=unedited,
        rounded=rounded,
        tolerance=rounded.tolerance(subject.dtype),
    )


def _figures(
    subject: Subject, recipe: Recipe, edit: WeightEdit, rows: Sequence[Row], again: Reloaded, scratch: Path
) -> tuple[Agreement, Agreement, Agreement]:
    """The export's, and the unedited model's, against the live edit; and how far rounding alone takes that."""
    export, unedited, rounded = (Comparing(subject.dtype) for _ in range(3))
    with _live(subject, recipe, edit):
        for number, got in enumerate(track(again.logits, "Comparing the export", len(rows))):
            want = _logits(subject, rows[number])
            export.add(want, got)
            unedited.add(want, _taken(scratch, "unedited", number))
            with rounded_anew(subject, number):
                rounded.add(want, _logits(subject, rows[number]))
    return export.found(), unedited.found(), rounded.found()


@contextmanager
def _live(subject: Subject, recipe: Recipe, edit: WeightEdit) -> Iterator[None]:
    """What the export has to be equal to."""
    with steered(subject, recipe) if edit.exact else edited(subject, recipe, edit):
        yield


def _read_again(subject: Subject, form: Export, folder: Path, rows: Sequence[Row], scratch: Path) -> Reloaded:
    """The logits of the export as others open it: in a fresh process, or as the recipe that it says."""
    if form.reloaded_by == "transformers":
        return reloaded(subject, rows, scratch, model=folder)
    if form.reloaded_by == "peft":
        assert subject.folder is not None
        return reloaded(subject, rows, scratch, model=subject.folder, adapter=folder)
    _write_logits(subject, form.read_back(subject, folder), rows, scratch, "again")
    known = {name: version for name, version in versions().items() if name in ("torch", "transformers")}
    files = (_taken(scratch, "again", number) for number in range(len(rows)))
    return Reloaded("the workbench, as hooks", known, files)


def _write_logits(subject: Subject, recipe: Recipe, rows: Sequence[Row], scratch: Path, name: str) -> None:
    """Logits under a recipe, kept for as long as another is on the model."""
    with steered(subject, recipe):
        for number, row in enumerate(rows):
            save_file({"logits": _logits(subject, row).cpu().contiguous()}, _file(scratch, name, number))


def _taken(scratch: Path, name: str, number: int) -> Tensor:
    """Logits that were kept, for the last time."""
    found = load_file(_file(scratch, name, number))["logits"]
    _file(scratch, name, number).unlink()
    return found


def _file(scratch: Path, name: str, number: int) -> Path:
    return scratch / f"{name}-{number}.safetensors"


def _logits(subject: Subject, row: Row) -> Float[Tensor, "pos vocab"]:
    return subject.logits(subject.batch([row.tokens]))[0, row.new :]


def _always_acts(placement: Placement) -> bool:
    """Whether it must show on every prompt; what acts in replies, or through a gate, need not."""
    when = (placement.gate, placement.schedule)
    return placement.tokens == "all" and when == (None, None) and not placement.edit.is_identity
