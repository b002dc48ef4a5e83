"""README.md of an export: what was done to which model, how well it is known, and how to do it again.

Names come from files and hubs, and are nobody's instruction: they stand in code spans, which hold any text as it is.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.runs import RunFolder
from workbench.weights.certificates.agreement import Agreement
from workbench.weights.certificates.certificate import Certificate
from workbench.weights.edit import WeightEdit, weight_edits
from workbench.weights.export import Export, exports
from workbench.weights.naming import base_of

_FIGURES = {
    "positions": "positions", "max_difference": "max difference of logits", "mean_difference": "mean difference",
    "equal_argmax": "share with the same most likely token", "same_token": "the same, or one a rounding away",
    "mean_kl": "mean KL (nats)",
}  # fmt: skip
_LIMITS = """\
This is a tool of research into what alignment does inside a model, and of defence: to see how little an edit needs, and
to test what should withstand one. A model without refusals follows harmful requests; do not deploy it, and do not put
it before people who did not ask for it.

An edit found on some prompts does what it was found for on prompts like these. What it does beyond is not known from
this card. It was made in `{dtype}`; in another, rounding is another."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation of the same recipe on the same model found."""

    run: str
    dtype: str
    results: Mapping[str, Any]

    @classmethod
    def read(cls, run: Path, subject: Subject, recipe: Recipe) -> "Evaluated":
        """Read a run folder. Raises UsageError where it is no finished evaluation, or of something else."""
        folder = RunFolder.open(run)
        manifest = folder.manifest
        if manifest.command != "evaluate" or not folder.done:
            raise UsageError(f"{run} is no finished evaluation; `workbench evaluate` makes one.")
        if changed := folder.changed_files():
            raise UsageError(f"{run} cannot be trusted: {changed[0]} is missing or was changed.")
        same = (manifest.settings.get("recipe"), manifest.model.get("digest")) == (recipe.to_json(), subject.digest)
        if not same:
            raise UsageError(f"{run} evaluates another recipe, or another model; evaluate this one.")
        return cls(folder.path.name, manifest.model["dtype"], folder.results())


def model_card(
    subject: Subject,
    recipe: Recipe,
    form: Export,
    edit: WeightEdit,
    certificate: Certificate,
    evaluated: Evaluated | None = None,
) -> str:
    """The text of the card."""
    name = exports.name_of(form)
    place = "recipe.json" if name == "recipe" else "recipe/recipe.json"
    parts = [
        _front_matter(subject, form),
        f"# {_code(subject.name)}, edited",
        _done(subject, recipe, form, edit),
        f"## How to use it\n\n{_block(form.usage(subject))}" if form.usage(subject) else "",
        _measured(evaluated, subject, place, certificate.dtype),
        _certified(certificate),
        _repeated(subject, name, edit, place, certificate.dtype),
        f"## Limits and intended use\n\n{_LIMITS.format(dtype=certificate.dtype)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(subject: Subject, form: Export) -> str:
    base = base_of(subject)
    known: dict[str, Any] = {"base_model": base.name} if base.hub else {}
    known |= {"base_model_relation": form.relation} if base.hub and form.relation else {}
    known |= {"library_name": form.library} if form.library else {}
    known |= {"pipeline_tag": "text-generation", "tags": ["alignment-workbench", "model-edit", "interpretability"]}
    # JSON is YAML too, and quotes every text.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in known.items()), "---"])


def _done(subject: Subject, recipe: Recipe, form: Export, edit: WeightEdit) -> str:
    rows = [
        ("recipe", str(recipe)), ("recipe's digest", recipe.digest), ("format", exports.name_of(form)),
        ("weight edit", weight_edits.name_of(edit)), ("base", base_of(subject).name),
        ("base's digest", subject.digest), ("base came from", subject.origin),
    ]  # fmt: skip
    said = "\n".join(f"- {sentence}" for sentence in form.said(subject, recipe, edit))
    table = _table(("what", "value"), [(what, _code(value)) for what, value in rows])
    return f"## What was done\n\n{table}" + (f"\n\n{said}" if said else "")


def _measured(evaluated: Evaluated | None, subject: Subject, place: str, dtype: str) -> str:
    """This against the original, where somebody measured it."""
    command = f"workbench evaluate {_quoted(base_of(subject).argument)} --recipe {place} --dtype {dtype}"
    if evaluated is None:
        return (
            "## Against the original\n\nNo evaluation was given, so that nothing is known here of what the edit does "
            "to replies. This measures it, with intervals and controls (then export with `--evaluation RUN`):\n\n"
            f"{_block(command)}"
        )
    tax = evaluated.results.get("tax", {})
    rows = [_row(row) for key in ("gained", "cost") for row in tax.get(key, ())]
    columns = ("set", "measure", "against", "before", "after", "p (paired, Holm)", "n", "says")
    judge = evaluated.results.get("judge", {}).get("name", "unknown")
    said = (
        f"Of the run {_code(evaluated.run)}, measured under hooks in {_code(evaluated.dtype)}; outcomes by the "
        f"{_code(str(judge))} judge. 95 % intervals. The certificate below says how near this export is to the hooks."
    )
    return f"## Against the original\n\n{_table(columns, rows)}\n\n{said}"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    change = row["change"]
    names = (_code(str(row["group"])), _code(str(row["measure"])), _code(str(row["against"])))
    numbers = (_score(row["before"]), _score(row["after"]), f"{change['adjusted']:.2g}", str(change["n"]))
    return (*names, *numbers, _code(str(change["says"])))


def _score(score: Mapping[str, Any]) -> str:
    interval = "n=1" if score["low"] is None else f"{score['low']:.3g}, {score['high']:.3g}"
    return f"{score['value']:.3g} ({interval})"


def _certified(certificate: Certificate) -> str:
    prompts, allowed = certificate.prompts, certificate.tolerance
    rows = [
        (
            title,
            _figure(certificate.export, key),
            _figure(certificate.rounded, key),
            _figure(certificate.unedited, key),
            f"{allowed[key]:.3g}" if key in allowed else "",
        )
        for key, title in _FIGURES.items()
    ]
    by = ", ".join(f"{package} {version}" for package, version in certificate.versions.items())
    return (
        f"## Certificate\n\nThe files were read again by {_code(certificate.reloaded_by)} ({_code(by)}), and their "
        f"logits compared with those of {certificate.reference}, on {prompts['n']} prompts ({_code(prompts['name'])}), "
        f"in {_code(certificate.dtype)}.\n\n"
        + _table(("figure", "this export", "the edit, rounded once more", "the unedited model", "allowed"), rows)
        + "\n\n`certificate.json` holds the same. `sha256sum --check SHA256SUMS` checks the files."
    )


def _figure(found: Agreement, key: str) -> str:
    value = getattr(found, key)
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _repeated(subject: Subject, form: str, edit: WeightEdit, place: str, dtype: str) -> str:
    command = ["workbench export", _quoted(base_of(subject).argument), "--recipe", place, "--format", form]
    command += ["--weight-edit", weight_edits.name_of(edit), "--dtype", dtype, "--out NEW-FOLDER"]
    return f"## How to repeat it\n\nIn this folder:\n\n{_block(' '.join(command))}"


def _quoted(text: str) -> str:
    return shlex.quote(text)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    """Any text as a code span, also in a cell of a table."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return (
        f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") or not line else f"{fence}{line}{fence}"
    )


def _block(text: str) -> str:
    """Any text as a block of code."""
    fence = "`" * (3 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
