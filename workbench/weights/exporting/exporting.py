"""Export an edit: written beside its place, certified, described, summed, and only then put there.

1. Whatever can be known before is asked before a byte is written: can the form hold the edit, is the place free, is the
   disk large enough, may it be pushed.
2. The form writes its files; the recipe goes with them, so that the same command makes the same again.
3. The certificate compares what was written with the live edit. If it fails, nothing is left.
4. README.md, certificate.json, and SHA256SUMS over all.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.runs import digest_file, note, track, write_json, write_text
from workbench.weights.certificates import Certificate, certificate_prompts, certificate_rows, certify
from workbench.weights.edit import WeightEdit
from workbench.weights.edits.orthogonalise import Orthogonalise
from workbench.weights.export import Export, exports
from workbench.weights.exporting.card import Evaluated, model_card
from workbench.weights.exporting.drafting import drafting, require_space
from workbench.weights.exporting.pushing import push_folder, require_pushable

CERTIFICATE, SUMS = "certificate.json", "SHA256SUMS"


@dataclass(frozen=True)
class Exported:
    """An export at its place: its files with their SHA-256, and the certificate it passed."""

    path: Path
    certificate: Certificate
    files: dict[str, str] = field(repr=False)
    pushed: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        said = {"path": str(self.path), "files": self.files, "pushed": self.pushed}
        return said | {"certificate": self.certificate.to_json()}


def export_model(
    subject: Subject,
    recipe: Recipe,
    form: Export | str,
    out: Path,
    *,
    edit: WeightEdit | None = None,
    prompts: Prompts | None = None,
    evaluation: Path | None = None,
    push: str | None = None,
) -> Exported:
    """Write `recipe` as a form, an instance or a name (hf, lora, gguf, recipe), into the new folder `out`.

    `edit` is how it is written into weights; `prompts` are those of the certificate; `evaluation` is the run of the
    same recipe whose scores the card shows; `push` is a hub repository to upload to. Raises RecipeError where the form
    cannot hold the recipe, UsageError where `out` is taken, RunError without space, ModelError where the certificate
    fails: nothing is at `out` then.
    """
    made = exports[form]() if isinstance(form, str) else form
    how, asked, target = edit or Orthogonalise(), prompts or certificate_prompts(), out.expanduser().resolve()
    if push is not None:
        require_pushable(push)
    evaluated = None if evaluation is None else Evaluated.read(evaluation, subject, recipe)
    made.check(subject, recipe, how)
    require_space(target, made.size(subject, recipe) + _scratch(subject, asked))
    with drafting(target) as draft:
        made.write(subject, recipe, how, draft)
        if not (draft / "recipe.json").exists():
            (draft / "recipe").mkdir()
            recipe.save(draft / "recipe" / "recipe.json")
        certificate = _certified(subject, recipe, made, how, draft, asked)
        write_json(draft / CERTIFICATE, certificate.to_json())
        write_text(draft / "README.md", model_card(subject, recipe, made, how, certificate, evaluated))
        files = _summed(draft)
    address = None if push is None else push_folder(target, push)
    return Exported(target, certificate, files, address)


def _certified(
    subject: Subject, recipe: Recipe, form: Export, edit: WeightEdit, draft: Path, prompts: Prompts
) -> Certificate:
    """The certificate of a draft, which it passes. Raises ModelError."""
    note(f"Reading the {exports.name_of(form)} export again, and comparing it with the live edit.")
    with tempfile.TemporaryDirectory(dir=draft.parent, prefix="logits-") as scratch:
        found = certify(subject, recipe, form, edit, draft, prompts, Path(scratch))
    found.require(recipe)
    return found


def _scratch(subject: Subject, prompts: Prompts) -> int:
    """The bytes of the logits that a certificate keeps for a while: the plain model's and a second set."""
    positions = sum(len(row.tokens) - row.new for row in certificate_rows(subject, prompts))
    return 2 * positions * int(subject.bridge.cfg.d_vocab) * subject.dtype.itemsize


def _summed(draft: Path) -> dict[str, str]:
    """Write the SHA-256 of every file, as `sha256sum --check` reads it."""
    files = sorted(file for file in draft.rglob("*") if file.is_file())
    sums = {file.relative_to(draft).as_posix(): digest_file(file) for file in track(files, "Summing the files")}
    if odd := [name for name in sums if "\n" in name or "\\" in name]:
        raise UsageError(f"The file name {odd[0]!r} cannot be summed; rename it in the model's folder.")
    write_text(draft / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums
