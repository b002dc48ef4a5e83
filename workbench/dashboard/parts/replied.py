"""Samples of what a run's model said. What harmful prompts were answered with is hidden until it is asked for."""

from collections.abc import Sequence

import streamlit as st

from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.recorded import Part, Recorded, Reply

ABREAST = 3
_PAGE = 4  # prompts at once
_COLOURS = {"refuse": "blue", "comply": "orange", "evade": "yellow", "broken": "violet"}


def samples(run: Recorded) -> None:
    """Prompts, each with its replies under some conditions, side by side."""
    parts = run.parts()
    if not parts:
        st.info("This run kept no replies.")
        return
    sets = list(dict.fromkeys(part.asked for part in parts))
    left, right = st.columns(2)
    with left:
        asked = st.segmented_control("Set", sets, default=sets[0], required=True, key="run_set", **KEPT)
    of_set = {part.condition: part for part in parts if part.asked == asked}
    with right:
        chosen = st.multiselect(
            "Conditions", list(of_set), default=list(of_set)[:ABREAST], max_selections=2 * ABREAST,
            key="run_conditions", **KEPT,
        )  # fmt: skip
    _prompts([of_set[name] for name in chosen if name in of_set])


def _prompts(parts: Sequence[Part]) -> None:
    if not parts:
        st.info("Choose a condition.")
        return
    most = max(len(part.replies) for part in parts)
    pages = max(1, -(-most // _PAGE))
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        page = st.number_input(f"Page, of {pages}", 1, pages, key="run_page", **KEPT)
    with right:
        everything = _unlocked(parts)
    st.caption("Outcomes are what the run's judge said; it is not always right.")
    for row in range(_PAGE * (int(page) - 1), min(most, _PAGE * int(page))):
        with st.container(border=True):
            st.text(next(part.replies[row].prompt for part in parts if row < len(part.replies)))
            for start in range(0, len(parts), ABREAST):
                for place, part in zip(st.columns(ABREAST), parts[start : start + ABREAST], strict=False):
                    with place:
                        _reply(part, row, everything)


def _reply(part: Part, row: int, everything: bool) -> None:
    if row >= len(part.replies):
        return
    reply: Reply = part.replies[row]
    outcome = reply.outcome or "unjudged"
    st.text(part.condition)
    st.badge(outcome, color=_COLOURS.get(outcome, "gray"))  # type: ignore[arg-type]
    if everything or part.may_be_shown(reply):
        st.text(reply.reply.strip() or "(nothing)")
    else:
        st.caption(":material/visibility_off: Not shown: no refusal of what may be a harmful prompt.")


def _unlocked(parts: Sequence[Part]) -> bool:
    """Whether replies to harmful prompts beyond refusals are shown. Never by a link: it is not kept in the URL."""
    hidden = sum(not part.may_be_shown(reply) for part in parts for reply in part.replies)
    if not hidden:
        return True
    return st.toggle(
        f"Show {hidden} replies to harmful prompts that are no refusals", False, key="run-answers",
        help="They may be offensive or dangerous. Also shown is what was broken or evaded.",
    )  # fmt: skip
