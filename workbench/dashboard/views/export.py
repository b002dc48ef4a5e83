"""Export: an edit as a model, an adapter, a control vector or a recipe, with a certificate that it is the same edit.

What is written is read again by others - plain transformers, PEFT - and compared with the live edit, logit by logit.
Where they differ by more than rounding, nothing is kept.
"""

import shlex
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.parts.certified import (
    LARGEST_MB,
    Held,
    certificate_of,
    exported,
    files_of,
    place_for,
    show_certificate,
    zipped,
)
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import plain
from workbench.dashboard.parts.rack import KEPT, Slot
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import SHIPPED, shipped
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.dashboard.engine import Job
    from workbench.models import Subject

FORMS = {
    "recipe": "recipe: JSON and directions, for a workbench",
    "lora": "lora: an adapter for PEFT, beside an untouched base",
    "hf": "hf: the whole model, for transformers",
    "gguf": "gguf: a control vector for llama.cpp",
}
_EDITS = {
    "orthogonalise": "orthogonalise",
    "preserve-columns": "orthogonalise, keeping the columns' lengths",
    "preserve-rows": "orthogonalise, keeping the rows' lengths",
}
_ABLATE, _ADD = "Ablate everywhere", "Add where found"
_CHOSEN = "certificate"


def show() -> None:
    """The page."""
    st.title("Export", anchor=False)
    st.markdown(
        "Put an edit into a form that can be used without this workbench. It is read again by others and compared with "
        "the live edit; only where the two agree is it kept."
    )
    recipe = _recipe()
    left, right = st.columns(2)
    with left:
        form = st.selectbox("Format", _forms(), format_func=lambda each: FORMS.get(each, each), key="form", **KEPT)
    with right:
        edit = st.selectbox(
            "How it is written into weights", list(_EDITS), format_func=_EDITS.__getitem__, key="weights", **KEPT
        )  # fmt: skip
    work = _work(recipe, str(form), str(edit))
    made = job_of("export", "Export it", "Your export", work, disabled=not recipe)
    if made is not None and st.session_state.get("exported") != made:
        st.session_state["exported"] = st.session_state[_CHOSEN] = made
    _certificate()


def _forms() -> list[str]:
    """The registered formats; those of the workbench alone while the model opens, for the others bring torch."""
    if engine().subject is None:
        return list(FORMS)
    from workbench.weights.export import exports

    return [*FORMS, *(name for name in exports if name not in FORMS)]


def _recipe() -> str:
    """The recipe in its written form."""
    subject = engine().subject
    known = shelf.places(None if subject is None else subject.digest)
    left, middle, right = st.columns([3, 4, 3])
    with left:
        name = st.selectbox("Direction", list(known), key="direction", **KEPT)
    with middle:
        what = st.selectbox("What is done", [_ABLATE, _ADD], key="do", **KEPT)
    with right:
        strength = st.slider("Strength", -2.0, 2.0, 1.0, 0.05, key="strength", **KEPT)
    made = ""
    if name is not None:
        method, sites = ("ablate", "all") if what == _ABLATE else ("add", known[name])
        made = str(Slot(name, method, sites, float(strength), "all"))
    written = st.text_input("Or a written recipe", "", key="recipe", placeholder=made, help=_HELP, **KEPT)
    recipe = (written or "").strip() or made
    st.caption("Exported is")
    st.code(recipe or "nothing", language=None)
    return recipe


def _work(text: str, form: str, edit: str) -> Any:
    def work(subject: "Subject", job: "Job") -> str:
        from workbench.errors import RecipeError
        from workbench.weights import export_model, weight_edits

        recipe = shelf.read(text)
        if not len(recipe):
            raise RecipeError("There is nothing to export; choose a direction, or write a recipe.")
        place = place_for(form, recipe.digest)
        return export_model(subject, recipe, form, place, edit=weight_edits[edit]()).path.name

    return work


def _certificate() -> None:
    st.subheader("Certificate", anchor=False)
    names = exported()
    if not names:
        st.info("Nothing has been exported yet.")
        return
    name = st.selectbox("Which export", names, key=_CHOSEN, **KEPT) or names[0]
    try:
        found = certificate_of(name)
        show_certificate(found, *_again(name, found))
        _files(name)
    except WorkbenchError as error:
        st.error(plain(error))


def _files(name: str) -> None:
    """What was written, to download where it is small."""
    files = files_of(name)
    size = sum(count for _, count in files) / 1e6
    with st.expander(f"{len(files)} files, {size:,.1f} MB", icon=":material/folder:"):
        st.text("\n".join(f"{count:>14,}  {file}" for file, count in files))
    if name == SHIPPED:
        st.caption("The certificate ships, the files do not; export it to have them.")
    elif size <= LARGEST_MB:
        st.download_button(
            "Download", lambda: zipped(name), f"{name}.zip", "application/zip", key="download", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip
    else:
        st.caption(
            f"More than {LARGEST_MB} MB, so that it is not sent through the browser. It is in the runs folder, as:"
        )
        st.code(name, language=None)


def _again(name: str, found: Held) -> tuple[str, str]:
    """The command and the Python that export the same again."""
    if name == SHIPPED:
        return str(shipped("export")["source"]["command"]), ""
    model, form, edit = found.model.name, found.format, found.weight_edit
    recipe = shlex.quote(f"{name}/{'recipe.json' if form == 'recipe' else 'recipe/recipe.json'}")
    command = f"workbench export {shlex.quote(model)} --recipe {recipe} --format {form} --weight-edit {edit} --out NEW"
    python = [
        "from pathlib import Path", "", "import workbench as wb", "from workbench.weights import export_model", "",
        f"subject = wb.open_model({model!r})", f"recipe = wb.Recipe.load(Path({recipe!r}))",
        f"made = export_model(subject, recipe, {form!r}, Path('NEW'))", "made.certificate",
    ]  # fmt: skip
    return command, "\n".join(python)


_HELP = "Such as 0.5 * ablate(refusal) @ 8-20 + add(refusal) @ 12; names are those of the list of directions."
