"""Dose-response: how much is enough, how much too much, and the window between them.

Every dose is measured beside a random direction of the same size, on the same prompts. The window is chosen on
validation prompts, so what it promises is still to be measured on others.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.parts.dosed import KIND, Dosed, read_dose
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT, Slot
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import Source, shipped, sources
from workbench.errors import WorkbenchError
from workbench.runs import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.dashboard.engine import Job
    from workbench.models import Subject

_SIZES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_TOKENS = 32


@dataclass(frozen=True)
class _Way:
    """What is done with a direction: the edit, its sign, and the goal that it serves."""

    method: str
    sign: int
    goal: str


_WAYS = {
    "ablate it everywhere, so that harmful requests are complied with": _Way("ablate", 1, "comply"),
    "take it away at its layer, to the same end": _Way("add", -1, "comply"),
    "add it at its layer, so that harmless requests are refused": _Way("add", 1, "refuse"),
}


def show() -> None:
    """The page."""
    st.title("Dose-response", anchor=False)
    st.markdown(
        "A recipe is turned through its doses, beside a random direction. A dose **works** where enough prompts do "
        "what was aimed at, in coherent replies; it does **harm** where KL or broken replies are above what is "
        "allowed. The **safe window** is from the first that works to the last without harm."
    )
    every = sources("dose", kind=KIND)
    if every:
        source = st.selectbox("Study", every, format_func=lambda each: each.name, key="study", **KEPT) or every[0]
        try:
            _study(source, read_dose(source))
        except WorkbenchError as error:
            st.error(plain(error))
    else:
        st.info("There are no doses yet; `workbench dose MODEL` measures some, and so does this page.")
    st.subheader("Measure another", anchor=False)
    _another()


def _study(source: Source, dosed: Dosed) -> None:
    held = dosed.held
    goal = "harmful prompts complied with" if held["settings"]["goal"] == "comply" else "harmless prompts refused"
    with st.container(border=True):
        st.text(f"{held['recipe']}, aimed at {goal}: {held['said']}.")
    window = held["window"]
    alt = (
        f"Refusal, over-refusal, coherent compliance, broken replies and KL by dose, with 95 % bands, beside a random "
        f"control; safe window: {'none' if window is None else f'{window[0]:g} to {window[1]:g}'}."
    )
    command, python = _again(source, held)
    shown(dosed.figure, dosed.table, KIND, alt, command=command, python=python)
    st.caption(
        f"{dosed.judged} Dose 0 is the baseline. These are validation prompts, and the window was chosen on them: "
        "`workbench evaluate` with the run's recipe measures it on others."
    )
    with st.expander("Dose by dose", icon=":material/format_list_numbered:"):
        st.dataframe(dosed.rows, hide_index=True, key="doses-table", alt="What each dose does, with 95 % intervals.")
        st.text(dosed.own)


def _again(source: Source, held: Any) -> tuple[str, str]:
    """The command and the Python that measure these doses again."""
    doses = ",".join(f"{dose:g}" for dose in held["settings"]["doses"])
    goal = held["settings"]["goal"]
    if source.folder is None:
        command = str(shipped(KIND)["source"]["command"])
        model, recipe = command.split()[2], '"RECIPE"'
    else:
        model = RunFolder.open(source.folder).manifest.model["name"]
        recipe = repr(str(source.folder / "recipe.json"))
        command = f"workbench dose {model} --recipe {source.folder} --doses={doses} --goal {goal}"
    python = [
        "from pathlib import Path", "import workbench as wb",
        "from workbench.studies import DoseSettings, record_dose", "",
        f"subject = wb.open_model({model!r})", f"recipe = wb.Recipe.load(Path({recipe}))",
        f"dose = DoseSettings(doses=({doses},), goal={goal!r})",
        'found = record_dose(subject, recipe, wb.builtin_pairs("val"), dose=dose)', 'print(found.results()["said"])',
    ]  # fmt: skip
    return command, "\n".join(python)


def _another() -> None:
    """A small study of a direction of the shelf."""
    subject = engine().subject
    known = shelf.places(None if subject is None else subject.digest)
    if not known:
        st.info("There is no direction for this model yet; `workbench find` or the page Build makes one.")
        return
    left, right = st.columns(2)
    with left:
        name = st.selectbox("Direction", list(known), key="dosed", **KEPT) or next(iter(known))
        way = _WAYS[st.selectbox("What to do with it", list(_WAYS), key="way", **KEPT) or next(iter(_WAYS))]
    with right:
        sizes = st.pills("Doses", _SIZES, selection_mode="multi", default=[0.5, 1.0], key="sizes", **KEPT)
        n = st.slider("Prompts of each kind", 4, 24, 8, key="n", help="Few prompts have wide intervals.", **KEPT)
    n_replies = 2 * int(n) * (1 + 2 * len(sizes))
    st.caption(f"{n_replies} replies of {_TOKENS} tokens each, half of them under a random control; then KL and odds.")
    slot = Slot(name, way.method, "all" if way.method == "ablate" else known[name], 1.0, "all")
    work = _measuring(str(slot), way, sorted(float(size) for size in sizes), int(n))
    made = job_of("dose", "Measure", f"Doses of {name}", work, disabled=subject is None or not sizes)
    if made:
        st.success(f"Measured: {made} is in the list of studies above.")


def _measuring(text: str, way: _Way, sizes: "Sequence[float]", n: int) -> "Callable[[Subject, Job], str]":
    def work(subject: "Subject", job: "Job") -> str:
        from workbench.evaluation import Settings, unseen
        from workbench.prompts import ContrastPairs, builtin_pairs
        from workbench.studies import DoseSettings, record_dose

        recipe = shelf.read(text)
        sets = unseen(builtin_pairs("val"), [recipe])
        pairs = ContrastPairs(sets["harmful"].sample(n, 0), sets["harmless"].sample(n, 0))
        dose = DoseSettings(doses=tuple(way.sign * size for size in sizes), goal=way.goal)
        return record_dose(subject, recipe, pairs, dose=dose, settings=Settings(_TOKENS)).path.name

    return work
