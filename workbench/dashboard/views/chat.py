"""Chat lab: one message, answered side by side as the model is and under up to three recipes.

Switches act while the model talks, from the next token on. Tokens are coloured by how far they lie along a direction,
by how far the recipe moved the next word (KL from the baseline), or by how unsure the model was.
"""

from typing import Any

import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.engine.talk import Asked, Column
from workbench.dashboard.parts.chatting import Colours, ended, live, sent, timeline
from workbench.dashboard.parts.conversation import Conversation, Message
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import copied, sentence
from workbench.dashboard.parts.rack import KEPT, ROWS, rack

BASELINE = "baseline"


def show() -> None:
    """The page."""
    st.title("Chat lab", anchor=False)
    talked: Conversation = st.session_state.setdefault("conversation", Conversation())
    known = _known()
    recipes = _recipes(known)
    how, colours = _request(list(known))
    if talked.running is not None:
        talked.running.steer(recipes)
    _history(talked, colours, recipes)
    text = st.chat_input("A message to the model", key="message", submit_mode="submit")
    if text:
        with sentence():
            asked = Asked(text, _columns(talked, recipes), **how)
            talked.add(_sent(asked, colours, recipes))
            st.rerun()


def _known() -> dict[str, str]:
    """The directions for this model, and the site each was found at."""
    subject = engine().subject
    return shelf.places(None if subject is None else subject.digest)


def _recipes(known: dict[str, str]) -> dict[str, str]:
    with st.expander("Interventions", expanded=True, icon=":material/tune:"):
        rows, columns = st.columns(2)
        with columns:
            n_columns = st.segmented_control(
                "Recipes beside the baseline", [1, 2, 3], default=1, required=True, key="columns", **KEPT
            )
        with rows:
            n_rows = st.segmented_control(
                "Interventions", list(range(1, ROWS + 1)), default=1, required=True, key="rows", **KEPT
            )
        if engine().subject is None:
            st.info("The model is being opened. A message that is sent now waits for it; the rack is there then.")
            return {}
        if not known:
            st.info("There is no direction for this model yet; `workbench find` or the page Build makes one.")
            return {}
        made = rack(list(known), known, int(n_rows or 1), int(n_columns or 1))
        for column, text in made.items():
            st.text(f"{column}: {text or 'nothing'}")
    return made


def _request(directions: list[str]) -> tuple[dict[str, Any], Colours]:
    with st.expander("How to answer, and how to colour it", icon=":material/palette:"):
        left, middle, right = st.columns(3)
        with left:
            colour = st.selectbox("Colour tokens by", Colours.BY, key="colour", **KEPT)
            direction = st.selectbox("Direction that is read", directions, key="read", **KEPT)
        with middle:
            length = st.slider("Longest reply, tokens", 8, 512, 96, 8, key="length", **KEPT)
            temperature = st.slider("Temperature", 0.0, 1.5, 0.0, 0.1, key="temperature", **KEPT)
        with right:
            system = st.text_input("System prompt", "", key="system", placeholder="the template's own", **KEPT)
            prefill = st.text_input("Begin the reply with", "", key="prefill", placeholder="nothing", **KEPT)
    how = {"system": system or None, "prefill": prefill or "", "max_new_tokens": length, "temperature": temperature}
    return how, Colours(str(colour), direction)


def _columns(talked: Conversation, recipes: dict[str, str]) -> tuple[Column, ...]:
    """The baseline and each recipe, with what each of them said before."""
    names = [BASELINE, *recipes]
    return tuple(Column(name, recipes.get(name, ""), talked.history(name)) for name in names)


def _sent(asked: Asked, colours: Colours, rack: dict[str, str]) -> Message:
    watched = {} if colours.direction is None else {colours.direction: colours.direction}
    return sent(asked, shelf.read, lambda subject: shelf.watched(subject, watched), rack)


def _history(talked: Conversation, colours: Colours, rack: dict[str, str]) -> None:
    _branches(talked)
    for number, message in enumerate(talked.messages):
        with st.chat_message("user"):
            st.text(message.talk.asked.text)
        if message is talked.running:
            live(message, colours, "stop")
        else:
            ended(message, colours)
            _again(talked, number, message, colours, rack)
    last = talked.last
    if last is not None and last.job.ended and last.talk.tokens[0]:
        timeline(last.talk, colours)
        copied(*last.again(engine().name))


def _again(
    talked: Conversation, number: int, message: Message, colours: Colours, rack: dict[str, str]
) -> None:  # fmt: skip
    with st.container(horizontal=True):
        said = st.button(
            "Replay", icon=":material/replay:", key=f"replay{number}", help="Say it again, as it was asked."
        )
        on = st.button(
            "Branch", icon=":material/fork_right:", key=f"branch{number}", help="Go on from here, elsewhere."
        )
    if said:
        with sentence():
            talked.replay(number, _sent(message.talk.asked, colours, rack))
            st.rerun()
    if on:
        talked.branch(number)
        st.rerun()


def _branches(talked: Conversation) -> None:
    if len(talked.branches) > 1:
        names = [f"{number + 1}: {len(each)} messages" for number, each in enumerate(talked.branches)]
        chosen = st.segmented_control(
            "Branch", list(range(len(names))), format_func=names.__getitem__, default=talked.at, required=True,
        )  # fmt: skip
        if chosen is not None and chosen != talked.at:
            talked.at = int(chosen)
            st.rerun()
