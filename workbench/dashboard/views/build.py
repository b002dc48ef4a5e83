"""Build a direction: pairs of prompts in, a direction out, with a card that says how good it is.

Enough pairs are searched: every layer and position is a candidate, and running the model chooses one. Of a few pairs it
is extracted at one layer. Either way it stands on the shelf, and goes to the chat.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.going import to_chat
from workbench.dashboard.parts.pairs import BUILT_IN, ENOUGH, Plan, pairs_given, plan_given, searched
from workbench.dashboard.parts.present import plain
from workbench.dashboard.parts.quality import Known, card_of, show_card, show_quality
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.search_again import carded_again
from workbench.dashboard.parts.uploads import DIRECTION_TYPES, LARGEST_MB, direction_of, require_small
from workbench.dashboard.parts.work import job_of
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.dashboard.engine import Job
    from workbench.models import Subject
    from workbench.prompts import ContrastPairs
    from workbench.runs import RunFolder

_CHOSEN = "built"
_OF_EACH = 128  # prompts of each side that a card reads


def show() -> None:
    """The page."""
    st.title("Build a direction", anchor=False)
    st.markdown(
        "Give prompts that show a behaviour and prompts that do not. The direction between them is where the model "
        "keeps it: take it away, and the behaviour goes; add it, and it comes."
    )
    how, pairs = pairs_given()
    plan = plan_given(how, pairs)
    _new(_found(pairs, plan))
    with st.expander("Or bring a direction file", icon=":material/upload_file:"):
        _new(_brought())
    _quality(how, pairs, plan)


def _found(pairs: "ContrastPairs | None", plan: Plan) -> str | None:
    few = pairs is not None and not searched(pairs)
    if few:
        st.info(f"A search needs {ENOUGH} prompts of each side; of fewer the direction is extracted at one layer.")
    label, work = ("Extract it", _extraction) if few else ("Find it", _search)
    found: str | None = job_of("build", label, "Your direction", work(pairs, plan), disabled=pairs is None)
    return found


def _search(pairs: "ContrastPairs | None", plan: Plan) -> Any:
    def work(subject: "Subject", job: "Job") -> str:
        from workbench.search import record_find

        assert pairs is not None
        return shelf.name_of(record_find(subject, pairs, settings=plan.settings(subject.n_layers)))

    return work


def _extraction(pairs: "ContrastPairs | None", plan: Plan) -> Any:
    def work(subject: "Subject", job: "Job") -> str:
        from workbench.search.extracting import record_extraction

        assert pairs is not None
        layer = plan.layer_of(subject.n_layers)
        return shelf.name_of(record_extraction(subject, pairs, layer=layer, method=plan.method))

    return work


def _brought() -> str | None:
    """An uploaded direction: read without running anything, and kept as a run."""
    file = st.file_uploader(
        "A direction that a workbench saved", DIRECTION_TYPES, key="direction-file", max_upload_size=LARGEST_MB
    )  # fmt: skip
    content = b"" if file is None else file.getvalue()
    try:
        if file is not None:
            require_small(content)
    except WorkbenchError as error:
        st.error(plain(error))
        return None

    def work(subject: "Subject", job: "Job") -> str:
        return shelf.name_of(kept_direction(subject, content))

    kept: str | None = job_of("bring", "Put it on the shelf", "Your file", work, disabled=file is None)
    return kept


def kept_direction(subject: "Subject", content: bytes) -> "RunFolder":
    """A run that holds an uploaded direction. Raises UsageError where it is none, or of another model."""
    from workbench.runs import RunFolder, RunManifest

    direction = replace(direction_of(content), quality={})  # what the file claims was not measured here
    direction.check_fits(subject)
    subject.check_site(direction.site)
    said = {"direction": direction.digest, "seen": sorted(direction.seen)}
    manifest = RunManifest(command="import", settings=said, model=subject.identity, data={})
    folder = RunFolder.start(manifest)
    if not folder.done:
        direction.save(folder.path / shelf.FILE)
        folder.finish({"digest": direction.digest, "site": str(direction.site)}, [])
    return folder


def _new(name: str | None) -> None:
    """What a job has just put on the shelf is what is looked at, once."""
    if name is not None and name not in st.session_state.setdefault("built-before", set()):
        st.session_state["built-before"].add(name)
        st.session_state[_CHOSEN] = name


def _quality(how: str, pairs: "ContrastPairs | None", plan: Plan) -> None:
    st.subheader("Quality card", anchor=False)
    subject = engine().subject
    names = list(shelf.places(None if subject is None else subject.digest))
    if not names:
        st.info("There is no direction for this model yet.")
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        name = st.selectbox("Direction", names, key=_CHOSEN, **KEPT) or names[0]
    with right:
        if st.button("Take it to the chat", icon=":material/forum:", key="take", width="stretch"):
            to_chat(name)
    try:
        known = Known.of(name)
        show_quality(known)
        _sureness(known, _card(name, how, pairs, plan), disabled=pairs is None)
    except WorkbenchError as error:
        st.error(plain(error))


def _sureness(known: Known, work: Any, *, disabled: bool) -> None:
    """Its card where there is one, and a way to measure it."""
    st.subheader("How sure it is", anchor=False)
    card = job_of(f"card-{known.name}", "Measure how sure it is", "Your card", work, disabled=disabled)
    card = card or card_of(known)
    if card is None:
        st.caption(
            "Not measured yet: the same with other prompts, with shuffled labels, and under other system prompts. It "
            "reads the prompts above, and needs some that the direction was not found with."
        )
        return
    show_card(card, *carded_again(engine().name, None if known.source.folder is None else known.source.name))


def _card(name: str, how: str, pairs: "ContrastPairs | None", plan: Plan) -> Any:
    def work(subject: "Subject", job: "Job") -> Any:
        from workbench.directions import Direction
        from workbench.prompts import builtin_pairs
        from workbench.studies import record_card

        assert pairs is not None
        direction = shelf.load(name)
        assert isinstance(direction, Direction)
        asked = {"these prompts": builtin_pairs() if how == BUILT_IN else pairs}
        return record_card(subject, direction, asked, n=_OF_EACH, refusal_starts=plan.begins or None).results()

    return work
