"""The transcripts of the first page: a few prompts, each answered as the model is and under every edit.

Of a harmful prompt only refusals ship; where another reply was given, its place says that it is left out.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from workbench.dashboard.parts.going import link

_TOLD = ("baseline", "ablated", "added")  # side by side; the controls are below them
_LEFT_OUT = "Left out: this is no refusal. No such reply to a harmful prompt is part of this workbench."


def side_by_side(told: Mapping[str, Any]) -> None:
    """What you change: the same prompts under each edit, with the controls below."""
    st.subheader("What you change", anchor=False)
    st.markdown(
        f"The same prompts, the first {told['source']['tokens']} tokens of the replies. In the chat lab the switch "
        "acts in the middle of a reply, from the next token on."
    )
    for number, each in enumerate(told["told"]):
        with st.container(border=True):
            st.caption(f"A {each['asked']} prompt")
            st.text(each["prompt"])
            for name, part in zip(_TOLD, st.columns(len(_TOLD)), strict=True):
                with part:
                    _reply(name, each["said"][name])
            with st.expander("The controls", key=f"controls{number}"):
                others = [name for name in each["said"] if name not in _TOLD]
                for name, part in zip(others, st.columns(len(others)), strict=True):
                    with part:
                        _reply(name, each["said"][name])
    left = ", ".join(f"{name} {count}" for name, count in told["left_out"].items())
    st.caption(
        f"Chosen as the first prompts that each edit turned. Of the {told['source']['n']} replies to harmful prompts, "
        f"those that are no refusals are in no file of the workbench: {left}."
    )
    link("chat", "Try it: talk with the model, with the direction on a switch", "forum")


def _reply(name: str, said: Mapping[str, Any]) -> None:
    st.markdown(f"**{name}**: {said['outcome']}")
    if said["reply"] is None:
        st.caption(f":material/visibility_off: {_LEFT_OUT}")
    else:
        st.text(said["reply"])
