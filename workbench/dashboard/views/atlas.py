"""Direction atlas: where in the model the behaviour can be read and written, and which candidate was chosen there.

A search extracts a direction at every layer and token position, measures the few that could win, and guesses the others
by gradients. The map shows both, each as what it is. A click picks a candidate, and takes it to the chat.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.going import to_chat
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.searched import KIND, UNITS, Candidate, Search, alone, read_search
from workbench.dashboard.parts.vectors import Vector, cosines, random_reach, vectors
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import sources
from workbench.errors import WorkbenchError
from workbench.plots.atlas import Cell, Marked, Scale, atlas_figure, cosines_figure

if TYPE_CHECKING:
    from workbench.dashboard.engine import Job
    from workbench.models import Subject

_SCALES: dict[str, Scale] = {"bypass": "diverging", "induce": "diverging", "KL": "logarithmic", "AUROC": "share"}
_MOST = 16  # directions against each other
_FIGURE = "atlas-figure"
_MEANS = (
    "**bypass**: log-odds of refusing harmful prompts with the direction ablated, lower is more bypassed; **induce**: "
    "log-odds of refusing harmless ones with it added, higher is more refused; **KL**: how far ablating it moves the "
    "answers to harmless prompts; **AUROC**: how well a linear probe tells the two kinds of prompt apart there."
)


def show() -> None:
    """The page."""
    st.title("Direction atlas", anchor=False)
    every = [source for source in sources("find", "demo", kind=KIND) if not alone(source)]
    if not every:
        st.info("There is no search yet; `workbench find MODEL` makes one.")
        return
    left, right = st.columns(2)
    with left:
        source = st.selectbox("Search", every, format_func=lambda each: each.name, key="search", **KEPT)
    try:
        search = read_search(source or every[0])
    except WorkbenchError as error:
        st.error(plain(error))
        return
    with right:
        picked = _choice(search)
    _map(search, picked)
    _candidate(search, picked)
    _cosines(search, vectors(search.model["digest"]))


def _choice(search: Search) -> Candidate:
    """The candidate that is looked at: a list, for the keyboard; a click on the map sets it too.

    Its place in the URL is kept by hand, for what a click sets is not carried there.
    """
    named = {candidate.name: candidate for candidate in search.candidates.values()}
    names = sorted(named, key=lambda name: (named[name].place != search.chosen, named[name].place[1], name))
    known = st.session_state.get("candidate", st.query_params.get("candidate"))
    st.session_state["candidate"] = known if known in named else names[0]
    told = "Or click on one in the map."
    chosen = str(st.selectbox("Candidate", names, key="candidate", help=told, persist_state="session"))
    st.query_params["candidate"] = chosen
    return named[chosen]


def _map(search: Search, picked: Candidate) -> None:
    st.markdown(_MEANS)
    panels = {
        _titled(name, search): (scale, [_cell(search, name, each) for each in search.known(name)])
        for name, scale in _SCALES.items()
        if search.known(name)
    }
    marked = Marked(search.front, search.chosen, picked.place, search.too_late)
    measured = sum("bypass" in candidate.measured for candidate in search.candidates.values())
    alt = (
        f"Maps of {', '.join(_SCALES)} by layer and token position for {len(search.candidates)} candidates, {measured} "
        f"of them measured and outlined, the others estimated; chosen: {search.candidates[search.chosen].name}."
    )
    command, python = _again(search)
    shown(
        atlas_figure(panels, marked), _table(search), KIND, alt, command=command, python=python,
        on_select=_clicked, selection_mode="points",
    )  # fmt: skip
    st.caption(_honest(search, measured))


def _clicked() -> None:
    """A mark was clicked: its place is the candidate now."""
    points = st.session_state[_FIGURE].selection.points
    name = points[0].get("customdata") if points else None
    if isinstance(name, list):
        name = name[0] if name else None
    if isinstance(name, str):
        st.session_state["candidate"] = name


def _titled(name: str, search: Search) -> str:
    n = {candidate.measured[name].n for candidate in search.known(name) if name in candidate.measured}
    counted = f"n={min(n)}" if len(n) == 1 else f"n={min(n)}-{max(n)}" if n else "estimates"
    return f"<b>{name}</b><br>{UNITS[name] or 'held out'}<br>{counted}"


def _cell(search: Search, name: str, candidate: Candidate) -> Cell:
    measured = name in candidate.measured
    value = candidate.measured[name].value if measured else candidate.guessed[name]
    return Cell(candidate.place, value, measured, candidate.said(name, search.screened_on))


def _honest(search: Search, measured: int) -> str:
    rule = (
        "passed the paper's rule"
        if search.passed_rule
        else "passed no rule: none did, so the smallest bypass was taken"
    )
    parts = [
        f"{measured} of {len(search.candidates)} candidates were measured, on the validation prompts that the choice "
        f"was made by: `workbench evaluate` measures an effect on others. The chosen one {rule}. "
        f"Estimates are guesses by gradients ({search.screened_on}): they order candidates and are no scores.",
        f"Prompts kept: {'; '.join(f'{part}, {said}' for part, said in search.kept.items())}.",
    ]
    if search.auroc is not None:
        words = search.auroc["words"]
        parts.append(
            f"AUROC is held out by folds, n={search.auroc['rows'][0]['n']}, on other prompts than the search's. The "
            f"prompts' words alone, without the model, give {words['value']:.3f} "
            f"[{words['low']:.3f}, {words['high']:.3f}], n={words['n']}; shuffled labels give at most "
            f"{max(row['shuffled'] for row in search.auroc['rows']):.2f}."
        )
    return "  \n".join(parts)


def _table(search: Search) -> pd.DataFrame:
    rows = []
    for candidate in search.candidates.values():
        position, layer = candidate.place
        row: dict[str, Any] = {"position": "mean" if position is None else position, "layer": layer}
        for name in _SCALES:
            score = candidate.measured.get(name)
            row[name] = candidate.guessed.get(name) if score is None else score.value
            row |= {f"{name} {end}": score and getattr(score, end) for end in ("low", "high", "n")}
        row["measured"], row["front"] = "bypass" in candidate.measured, candidate.place in search.front
        rows.append(row | {"chosen": candidate.place == search.chosen})
    return pd.DataFrame(rows)


def _again(search: Search) -> tuple[str, str]:
    model, how = search.model["name"], search.settings
    python = [
        "import workbench as wb", "", f"subject = wb.open_model({model!r})",
        f"settings = wb.SearchSettings.from_json({dict(how)!r})",
        'found = wb.find_direction(subject, wb.builtin_pairs("train"), settings=settings)', "found.plot()",
    ]  # fmt: skip
    command = f"workbench find {model} --n-train {how['n_train']} --n-val {how['n_val']} --search {how['strategy']}"
    return command, "\n".join(python)


def _candidate(search: Search, picked: Candidate) -> None:
    """What is known of the picked candidate, and the ways to the chat."""
    with st.container(border=True):
        st.markdown(f"**{picked.name}**{' - chosen' if picked.place == search.chosen else ''}")
        for name in _SCALES:
            if name in picked.measured or name in picked.guessed:
                st.text(picked.said(name, search.screened_on))
        made = job_of(
            f"extract-{picked.name}", "Extract this direction", f"Extracting {picked.name}",
            _extraction(search, picked), disabled=_other_model(search),
        )  # fmt: skip
        if made:
            st.success(f"Extracted and measured; the run is {made}.")
        here = [each for each in vectors(search.model["digest"]).values() if each.place == picked.place]
        _ways(here)


def _other_model(search: Search) -> bool:
    subject = engine().subject
    return subject is None or subject.digest != search.model["digest"]


def _ways(here: list[Vector]) -> None:
    if not here:
        st.caption("Its direction is not kept with the search. Extract it, and it stands on the shelf and in the chat.")
    for each in here:
        if st.button(
            f"Take {each.name} to the chat",
            key=f"chat-{each.name}",
            icon=":material/forum:",
            help=f"From: {each.origin}",
        ):
            to_chat(each.name)


def _extraction(search: Search, picked: Candidate) -> Any:
    def work(subject: "Subject", job: "Job") -> str:
        from workbench.prompts import builtin_pairs
        from workbench.search import SearchSettings, record_candidate

        settings = SearchSettings.from_json(search.settings)
        pairs = builtin_pairs("train")
        return record_candidate(subject, pairs, picked.place, settings=settings, data=search.data).path.name

    return work


def _cosines(search: Search, held: Mapping[str, Vector]) -> None:
    st.subheader("Directions at hand, against each other", anchor=False)
    kept = dict(list(held.items())[:_MOST])
    if len(kept) < 2:
        st.caption("Cosines need two directions of this model; extract another candidate.")
        return
    values = cosines(kept)
    reach = random_reach(len(next(iter(kept.values())).unit))
    table = pd.DataFrame(
        [
            {"direction": one, "other": other, "cosine": float(values[i, j]), "site": kept[other].site}
            for i, one in enumerate(kept) for j, other in enumerate(kept)
        ]
    )  # fmt: skip
    alt = f"Cosines between {len(kept)} directions of {search.model['name']}; random ones lie within {reach:.2f}."
    shown(cosines_figure(list(kept), values, reach), table, "cosines", alt)
    places = "; ".join(f"{name}: {each.site}, {each.method}" for name, each in kept.items())
    st.caption(f"Two random directions lie within {reach:.2f} in 95 of 100 cases.")
    st.text(places)
