"""Chat lab: one message, answered side by side as the model is and under up to three recipes.

Switches act while the model talks, from the next token on. Tokens are coloured by how far they lie along a direction,
by how far the recipe moved the next word (KL from the baseline), or by how unsure the model was.
"""

from dataclasses import replace

import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.engine.talk import Asked, Column, Talk
from workbench.dashboard.parts.chatting import Colours, replies, timeline
from workbench.dashboard.parts.conversation import Conversation, Message
from workbench.dashboard.parts.engine import engine, show_progress, submit
from workbench.dashboard.parts.present import copied, plain
from workbench.dashboard.parts.rack import KEPT, ROWS, rack
from workbench.errors import WorkbenchError

BASELINE = "baseline"
_TICK = 0.2  # seconds between two looks at what was said


def show() -> None:
    """The page."""
    st.title("Chat lab", anchor=False)
    talked: Conversation = st.session_state.setdefault("conversation", Conversation())
    known = _known()
    recipes = _recipes(known)
    request, colours = _request(list(known))
    running = talked.running
    if running is not None:
        for number, column in enumerate(running.talk.asked.columns):
            running.steer(number, recipes.get(column.name, ""))
    _history(talked, colours)
    text = st.chat_input("A message to the model", key="message", submit_mode="submit")
    if text:
        _send(talked, text, replace(request, columns=_columns(talked, recipes)), colours.direction)


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


def _request(directions: list[str]) -> tuple[Asked, Colours]:
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
    blank = (Column(BASELINE),)
    asked = Asked("-", blank, system or None, prefill or "", int(length), float(temperature))
    return asked, Colours(str(colour), direction)


def _columns(talked: Conversation, recipes: dict[str, str]) -> tuple[Column, ...]:
    """The baseline and each recipe, with what each of them said before."""
    names = [BASELINE, *recipes]
    return tuple(Column(name, recipes.get(name, ""), talked.history(name)) for name in names)


def _send(talked: Conversation, text: str, asked: Asked, direction: str | None) -> None:
    try:
        talk = Talk(replace(asked, text=text))
        watched = {} if direction is None else {direction: direction}
        job = submit("Your message", talk.work(shelf.read, lambda subject: shelf.watched(subject, watched)))
    except WorkbenchError as error:
        st.error(plain(error))
        return
    talked.add(Message(talk, job))
    st.rerun()


def _history(talked: Conversation, colours: Colours) -> None:
    _branches(talked)
    for number, message in enumerate(talked.messages):
        with st.chat_message("user"):
            st.text(message.talk.asked.text)
        if message is talked.running:
            _live(colours)
        else:
            _done(talked, number, message, colours)


def _live(colours: Colours) -> None:
    @st.fragment(run_every=_TICK)
    def growing() -> None:
        message: Message | None = st.session_state["conversation"].last
        if message is None or message.job.ended:
            st.rerun()
            return
        bar, button = st.columns([5, 1], vertical_alignment="center")
        with button:
            if st.button("Stop", icon=":material/stop_circle:", key="stop", type="primary", width="stretch"):
                message.job.cancel()
        with bar:
            show_progress(message.job)
        replies(message.talk, colours, message.job)

    growing()


def _done(talked: Conversation, number: int, message: Message, colours: Colours) -> None:
    replies(message.talk, colours, message.job)
    if message.job.error:
        st.error(plain(message.job.error))
    with st.container(horizontal=True):
        if st.button(
            "Replay", icon=":material/replay:", key=f"replay{number}", help="Say it again, as it was set then."
        ):
            _send(talked.upto(number), message.talk.asked.text, message.talk.asked, colours.direction)
        if st.button("Branch", icon=":material/fork_right:", key=f"branch{number}", help="Go on from here, elsewhere."):
            talked.branch(number)
            st.rerun()
    if number == len(talked.messages) - 1 and message.talk.tokens[0]:
        timeline(message.talk, colours)
        copied(*message.again(engine().name))


def _branches(talked: Conversation) -> None:
    if len(talked.branches) > 1:
        names = [f"{number + 1}: {len(each)} messages" for number, each in enumerate(talked.branches)]
        chosen = st.segmented_control(
            "Branch", list(range(len(names))), format_func=names.__getitem__, default=talked.at, required=True,
        )  # fmt: skip
        if chosen is not None and chosen != talked.at:
            talked.at = int(chosen)
            st.rerun()
