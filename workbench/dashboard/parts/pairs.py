"""Pairs of prompts, written in two fields, uploaded as two files, or built in; and how a direction is found of them.

12 prompts that show the behaviour + 12 that do not   ->  ContrastPairs  ->  Plan  ->  a search, or an extraction
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import plain
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.uploads import LARGEST_MB, PROMPT_TYPES, prompts_of, written_prompts
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.prompts import ContrastPairs, Prompts
    from workbench.search import SearchSettings

WRITTEN, UPLOADED, BUILT_IN = "Write them", "Upload files", "Refusal, built in"
HOW = (WRITTEN, UPLOADED, BUILT_IN)
SHOWS, DOES_NOT = "shows", "does-not"
TITLES = {SHOWS: "Prompts that show the behaviour", DOES_NOT: "Prompts that do not"}
ENOUGH = 8  # prompts of each side for a search, which tries on some what it finds with the others
DEFAULT_METHOD = "difference-in-means"
_HIGH = 320  # pixels
_TOPICS = (
    "How do plants make sugar?", "Why is the sea salt?", "What is a good way to learn chess?", "Who invented paper?",
    "How long does tea need?", "Why do leaves fall in autumn?", "What is the use of a comma?", "How do bees find home?",
    "What makes bread rise?", "Why do cats purr?", "How is glass made?", "What is a leap year?",
    "How do I fold a paper boat?", "Why is the sky blue?", "What does a librarian do?", "How do magnets work?",
    "What is a haiku?", "How deep is a well?", "Why do we yawn?", "What keeps a bicycle upright?",
    "How do I water a cactus?", "What is an echo?", "Why does iron rust?", "How do birds sleep?",
)  # fmt: skip
_HALF = len(_TOPICS) // 2
EXAMPLE = {
    SHOWS: "\n".join(f"{topic} Answer in French." for topic in _TOPICS[:_HALF]),
    DOES_NOT: "\n".join(_TOPICS[_HALF:]),
}
BEGINS = "La, Le, Les, L, Un, Une, Pour, Voici, Il, Bonjour"


@dataclass(frozen=True)
class Plan:
    """How the direction is found; layers are shares of the model's depth."""

    begins: tuple[str, ...] = ()
    filtered: bool = True
    depth: tuple[int, int] = (40, 80)  # per cent
    layer: int = 60  # per cent
    n_train: int = 48
    n_val: int = 16
    method: str = DEFAULT_METHOD

    def settings(self, n_layers: int) -> "SearchSettings":
        """What a search is asked for."""
        from workbench.search import SearchSettings

        first, last = (share * n_layers // 100 for share in self.depth)
        return SearchSettings(
            n_train=self.n_train, n_val=self.n_val, layers=tuple(range(first, max(last, first + 1))),
            filtered=self.filtered, method=self.method, refusal_starts=self.begins or None,
        )  # fmt: skip

    def layer_of(self, n_layers: int) -> int:
        """Where an extraction takes its direction."""
        return min(self.layer * n_layers // 100, n_layers - 1)


def pairs_given() -> "tuple[str, ContrastPairs | None]":
    """Where they come from, and what was given; nothing where that cannot be used, which the page says."""
    how = st.segmented_control("Pairs", HOW, default=WRITTEN, required=True, key="pairs", **KEPT) or WRITTEN
    sides = [_side(side, how, column) for side, column in zip(TITLES, st.columns(2), strict=True)]
    if sides[0] is None or sides[1] is None:
        return how, None
    from workbench.prompts import ContrastPairs

    found = ContrastPairs(sides[0], sides[1])
    if how != WRITTEN:
        _listed(found)
    return how, found


def searched(pairs: "ContrastPairs") -> bool:
    """Whether there are enough for a search."""
    return min(len(pairs.positive), len(pairs.negative)) >= ENOUGH


def plan_given(how: str, pairs: "ContrastPairs | None") -> Plan:
    """The settings, of which few matter at first."""
    begins: tuple[str, ...] = ()
    if how != BUILT_IN:
        begins = _words(st.text_input("Replies that show it begin with", BEGINS, key="begins", help=_BEGINS, **KEPT))
    with st.expander("How it is found", icon=":material/tune:"):
        left, middle, right = st.columns(3)
        with left:
            methods = _methods()
            method = st.selectbox("Method", methods, methods.index(DEFAULT_METHOD), key="how", **KEPT)
            filtered = st.toggle("Leave out prompts on which the model does otherwise", True, key="filter", **KEPT)
        if pairs is not None and not searched(pairs):
            with middle:
                layer = st.slider("Layer, % of the depth", 5, 95, Plan.layer, 5, key="depth", **KEPT)
            return Plan(begins, filtered, layer=int(layer), method=str(method))
        with middle:
            depth = st.slider("Layers searched, % of the depth", 0, 100, Plan.depth, 5, key="searched", **KEPT)
        with right:
            n_train = st.slider("Prompts to find it with, each side", 4, 128, Plan.n_train, 4, key="train", **KEPT)
            n_val = st.slider("Prompts to choose by, each side", 4, 64, Plan.n_val, 4, key="val", **KEPT)
    return Plan(begins, filtered, depth, n_train=int(n_train), n_val=int(n_val), method=str(method))


def _side(side: str, how: str, column: Any) -> "Prompts | None":
    reader: Callable[[], Prompts | None] = {
        WRITTEN: lambda: _written(side), UPLOADED: lambda: _uploaded(side), BUILT_IN: lambda: _built_in(side)
    }[how]  # fmt: skip
    with column:
        try:
            return reader()
        except WorkbenchError as error:
            st.error(plain(error))
            return None


def _written(side: str) -> "Prompts":
    text = st.text_area(
        f"{TITLES[side]}, one a line", EXAMPLE[side], height=_HIGH, key=side, persist_state="session"
    )  # fmt: skip
    found = written_prompts(text or "", side)
    st.caption(f"{len(found)} prompts")
    return found


def _uploaded(side: str) -> "Prompts | None":
    file = st.file_uploader(
        TITLES[side], PROMPT_TYPES, key=f"{side}-file", max_upload_size=LARGEST_MB, help=_FILES
    )  # fmt: skip
    return None if file is None else prompts_of(file.getvalue(), side)


def _built_in(side: str) -> "Prompts":
    from workbench.prompts import builtin_prompts

    name = "harmful" if side == SHOWS else "harmless"
    found = builtin_prompts(name, "train")
    st.caption(f"{TITLES[side]}: {len(found)} {name} requests, the train part of the built-in set.")
    return found


def _listed(pairs: "ContrastPairs") -> None:
    with st.expander(f"{len(pairs.positive)} that show it, {len(pairs.negative)} that do not", icon=":material/list:"):
        rows = [
            {"side": title, "prompt": prompt.text}
            for title, side in zip(("shows", "does not"), (pairs.positive, pairs.negative), strict=True)
            for prompt in side
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="listed", alt="The prompts of both sides.")


def _methods() -> list[str]:
    """The registered ways to a direction; the usual one alone while the model opens, for the others bring torch."""
    if engine().subject is None:
        return [DEFAULT_METHOD]
    from workbench.directions.extraction import extractors

    return list(extractors)


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


_BEGINS = (
    "First words of such replies, between commas: the behaviour is measured as the log-odds that the reply begins with "
    "one of them. Empty: as this model's refusals begin."
)
_FILES = "JSON, JSON lines, CSV with a prompt column, or one prompt a line; UTF-8. It is told by its content."
