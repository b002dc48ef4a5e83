"""Concepts turned by sliders: the reply beside the baseline's, token by token, and what is read of the concept."""

import shlex
from dataclasses import dataclass

import streamlit as st

from workbench.dashboard.engine.talk import Asked, Column
from workbench.dashboard.parts.bottlenecks import HOW, AtHand, Turned, written
from workbench.dashboard.parts.chatting import Colours, ended, live, sent, timeline
from workbench.dashboard.parts.conversation import Message
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import copied, sentence
from workbench.dashboard.parts.rack import KEPT

ROWS = 3
_SAID = "concepts-said"
_PROMPT = "Tell me how to make tea."
_FIRST = "politeness"  # what the first slider turns, where it is known


@dataclass(frozen=True)
class _Read(Colours):
    """Tokens by how active the concept is."""

    @property
    def unit(self) -> str:
        return f"{self.direction}, natural units" if self.by == Colours.BY[0] else super().unit


def turning(chosen: AtHand) -> None:
    """The sliders, the message, and both replies."""
    turned = _sliders(chosen)
    recipe = written(turned, chosen.site)
    st.code(recipe, language=None, wrap_lines=True)
    left, middle, right = st.columns([3, 1, 1])
    with left:
        text = st.text_area("Message", _PROMPT, key="set-message", height=80, **KEPT)
    with middle:
        tokens = st.slider("Longest reply, tokens", 8, 128, 48, 8, key="set-length", **KEPT)
    with right:
        by = st.selectbox(
            "Colour tokens by", Colours.BY, format_func=lambda b: "the concept" if b == Colours.BY[0] else b,
            key="set-colour", **KEPT,
        )  # fmt: skip
    colours = _Read(str(by), turned[0].concept)
    said: Message | None = st.session_state.get(_SAID)
    if st.button("Say it again", key="start-set", type="primary", disabled=said is not None and not said.job.ended):
        _send(chosen, text or "", recipe, int(tokens), [each.concept for each in turned])
    if said is None:
        return
    if said.job.ended:
        _done(said, colours, chosen, turned)
    else:
        live(said, colours, "stop-set")


def _sliders(chosen: AtHand) -> list[Turned]:
    from workbench.interventions.edit import edits

    n = st.segmented_control("Concepts", list(range(1, ROWS + 1)), default=1, required=True, key="turned", **KEPT)
    found = []
    for row in range(int(n or 1)):
        names = list(chosen.names)
        left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
        with left:
            first = names.index(_FIRST) if row == 0 and _FIRST in names else min(row, len(names) - 1)
            concept = st.selectbox("Concept", names, first, key=f"concept{row}", **KEPT)
        with middle:
            how = st.segmented_control("How", list(HOW), default="amplify", required=True, key=f"how{row}", **KEPT)
        edit, control, _ = HOW[how or "amplify"]
        (field,) = [each for each in edits[edit].controls() if each.name == control]
        low, high = field.metadata["low"], field.metadata["high"]
        with right:
            amount = st.slider(
                "Natural units", low, high, 4.0 if how == "amplify" else 1.0, 0.25, key=f"amount{row}{how}",
                help=field.metadata["help"], **KEPT,
            )  # fmt: skip
        found.append(Turned(concept or names[0], how or "amplify", float(amount)))
    return found


def _send(chosen: AtHand, text: str, recipe: str, tokens: int, concepts: list[str]) -> None:
    watched = dict.fromkeys(concepts)
    with sentence():
        asked = Asked(text, (Column("baseline"), Column("with the concepts set", recipe)), max_new_tokens=tokens)
        st.session_state[_SAID] = sent(asked, chosen.read, lambda _: {name: chosen.concept(name) for name in watched})
        st.rerun()


def _done(said: Message, colours: Colours, chosen: AtHand, turned: list[Turned]) -> None:
    asked = said.talk.asked
    st.text(asked.text)
    ended(said, colours)
    if said.talk.tokens[0]:
        timeline(said.talk, colours)
        options = " ".join(each.option for each in turned)
        where = f"--bottleneck {shlex.quote(str(chosen.path))} {options}"
        command = f"workbench concepts steer {engine().name} {where} \\\n  --prompt {shlex.quote(asked.text)}"
        copied(f"{command} --max-new-tokens {asked.max_new_tokens}", _python(chosen, asked))
    st.caption("One reply of each, n=1: whether a concept moves replies in general is asked of many prompts.")


def _python(chosen: AtHand, asked: Asked) -> str:
    recipe = asked.columns[-1].recipe
    return "\n".join([
        "import workbench as wb", "from workbench.concepts import Bottleneck", "from pathlib import Path", "",
        f"subject = wb.open_model({engine().name!r})", f"made = Bottleneck.load(Path({str(chosen.path)!r}))",
        f"recipe = wb.parse_recipe({recipe!r}, made.concept)", f"prompts = wb.Prompts.of([{asked.text!r}] * 2)",
        f"for reply in wb.generate(subject, prompts, [wb.Recipe(), recipe], max_new_tokens={asked.max_new_tokens}):",
        "    print(reply.text)",
    ])  # fmt: skip
