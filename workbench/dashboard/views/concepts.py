"""Concepts: what each word of a reply is made of, a concept turned up or down, and the texts that taught it.

A bottleneck splits every logit into known concepts, discovered ones and a residual. What ships was explained before;
anything live needs a bottleneck of the open model, which this page can train.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from workbench.dashboard.engine.talk import Asked, Column
from workbench.dashboard.parts.bottlenecks import AtHand, bottlenecks
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.explained import explain_command, explain_python, explained, informed, measured
from workbench.dashboard.parts.present import plain
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.turning import turning
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import shipped
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.models import Subject
    from workbench.prompts import Prompts

KIND = "concepts"
ROOMS = ("Every token", "Set a concept", "What informed it", "Bottlenecks")
_PROMPT = "How should I apologise to a friend?"


def show() -> None:
    """The page."""
    st.title("Concepts", anchor=False)
    subject = engine().subject
    made = bottlenecks(None if subject is None else subject.digest)
    st.markdown(
        "A **bottleneck** splits what makes each next word into concepts that were labelled (known), concepts that "
        "were found (discovered), and a residual that has no name."
    )
    room = st.segmented_control("Show", ROOMS, default=ROOMS[0], required=True, key="room", **KEPT)
    chosen = _chosen(made)
    try:
        {ROOMS[1]: _set, ROOMS[2]: _informed, ROOMS[3]: _bottlenecks}.get(room or "", _tokens)(chosen)
    except WorkbenchError as error:
        st.error(plain(error))


def _chosen(made: Sequence[AtHand]) -> AtHand | None:
    if not made:
        return None
    by_name = {each.name: each for each in made}
    name = st.selectbox(
        "Bottleneck", list(by_name), format_func=lambda name: str(by_name[name]), key="bottleneck", **KEPT
    )
    return by_name.get(name or "", made[0])


def _lacking() -> None:
    model = engine().subject
    why = "The model is still being opened." if model is None else "There is no bottleneck for this model yet."
    st.info(f"{why} One can be trained under Bottlenecks, or by `workbench concepts train {engine().name}`.")


def _tokens(chosen: AtHand | None) -> None:
    """What each concept adds to every token of a reply."""
    own = None
    with st.expander("Explain a reply to your own message", icon=":material/edit:"):
        if chosen is None:
            _lacking()
        else:
            text, tokens = _asked("explain")
            own = job_of("explain", "Explain", "Explaining", lambda s, job: _explain(s, chosen, text, tokens))
    found = [*([own] if own else []), *shipped(KIND)["explanations"]]
    number = st.selectbox(
        "Reply to", range(len(found)), format_func=lambda n: found[n]["prompt"][:90], key="explained", **KEPT
    )
    each = found[number if number is not None and number < len(found) else 0]
    path = each.get("bottleneck", "BOTTLENECK")
    of = (engine().name, path, each["prompt"], len(each["tokens"]))
    explained(each, explain_command(*of), explain_python(*of))


def _asked(key: str) -> tuple[str, int]:
    left, right = st.columns([3, 1])
    with left:
        text = st.text_area("Message", _PROMPT, key=f"{key}-message", height=80, **KEPT)
    with right:
        tokens = st.slider("Longest reply, tokens", 8, 64, 24, 8, key=f"{key}-length", **KEPT)
    return text or "", int(tokens)


def _prompts(text: str, tokens: int) -> "Prompts":
    """A message as the model is asked it. Raises PromptError where it is empty or too long."""
    from workbench.prompts import Prompts

    return Prompts(tuple(Asked(text, (Column("baseline"),), max_new_tokens=tokens).prompts()), "message")


def _explain(subject: "Subject", chosen: AtHand, text: str, tokens: int) -> dict[str, Any]:
    from workbench.concepts import explain
    from workbench.errors import ConceptError

    found = explain(subject, chosen.load(), _prompts(text, tokens), max_new_tokens=tokens)
    if not found:
        raise ConceptError("The model says nothing to this; ask something else.")
    return found[0].to_json() | {"bottleneck": str(chosen.path)}


def _set(chosen: AtHand | None) -> None:
    """Concepts set by sliders, and the reply beside the baseline's."""
    if chosen is None:
        _lacking()
        _said_before()
    else:
        turning(chosen)


def _said_before() -> None:
    """What ships: a concept turned up, another one turned up as much, and the model as it is."""
    found = shipped(KIND)
    turned, control = found["steered"], found["control"]
    st.caption("An earlier run, with strengths tried by hand. A few replies, n=2: an example, and no effect.")
    rows = []
    for row, other in zip(turned["replies"], control["replies"], strict=True):
        st.text(row["prompt"])
        said = {"baseline": row["plain"], turned["recipe"]: row["steered"], control["recipe"]: other["steered"]}
        for part, (name, text) in zip(st.columns(3), said.items(), strict=True):
            with part, st.container(border=True):
                st.code(name, language=None, wrap_lines=True)
                st.text(text)
        rows += [{"prompt": row["prompt"], "recipe": name, "reply": text} for name, text in said.items()]
    with st.expander("The same as a table", icon=":material/table:"):
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="steered-table")


def _informed(chosen: AtHand | None) -> None:
    """Which training texts informed a concept's part in a reply."""
    own = None
    with st.expander("Ask it of your own message", icon=":material/edit:"):
        if chosen is None:
            _lacking()
        else:
            concept = st.selectbox("Concept", chosen.names, key="informed-concept", **KEPT) or chosen.names[0]
            text, tokens = _asked("informed")
            st.caption("The training texts are read again: a minute where they were captured before, else several.")
            own = job_of("informed", "Ask", "Asking", lambda s, job: _inform(s, chosen, concept, text, tokens))
    found = own or shipped(KIND)["informed"]
    st.caption("Which training texts informed a concept's part in a reply:")
    st.text(f"{found['concept']}, in the reply to: {found['prompt']}")
    path = "BOTTLENECK" if chosen is None or not own else chosen.path
    informed(
        found, f"workbench concepts data {engine().name} --bottleneck {path} --concept {found['concept']} --prompt ..."
    )


def _inform(subject: "Subject", chosen: AtHand, concept: str, text: str, tokens: int) -> dict[str, Any]:
    from workbench.concepts import builtin_concepts, informed_replies
    from workbench.errors import ConceptError

    concepts = builtin_concepts()
    if concepts.digest != chosen.concepts_digest:
        raise ConceptError(
            "This bottleneck was trained on concepts of your own; ask `workbench concepts data --concepts FOLDER`."
        )
    found, texts = informed_replies(subject, chosen.load(), concepts, _prompts(text, tokens), concept, tokens)
    return found.to_json(texts, 10) | {"prompt": text}


def _bottlenecks(chosen: AtHand | None) -> None:
    """What was measured of a bottleneck, and training one."""
    found = shipped(KIND)["bottleneck"] if chosen is None else chosen.results
    st.markdown(
        f"{'The one that was explained here' if chosen is None else 'Chosen'}: at `{found['site']}`, "
        f"{len(found['typical'])} known concepts, {found['texts']:,} training texts, {found['tokens']:,} tokens."
    )
    measured(found)
    st.subheader("Train one", anchor=False)
    subject = engine().subject
    if subject is None:
        st.info("The model is still being opened.")
        return
    last = f"{subject.n_layers - 1}.resid_post"
    left, right = st.columns(2)
    with left:
        site = st.selectbox(
            "Where", [last, f"{round(0.6 * subject.n_layers)}.resid_post"], key="bottleneck-site",
            help="After the last block parts sum to the logit; in the middle a concept steers better.", **KEPT,
        ) or last  # fmt: skip
    with right:
        epochs = st.slider("Epochs at most", 1, 12, 12, key="bottleneck-epochs", **KEPT)
    st.caption(
        "The built-in concepts. About 7 minutes on two quiet cores with the embedded model, longer on a busy machine; "
        "others wait meanwhile. Stopped, it goes on from the captured texts and the last epoch."
    )
    made = job_of("train", "Train", "Training a bottleneck", lambda s, job: _train(s, site, int(epochs)))
    if made:
        st.success(f"Kept as {made}; choose it above.")


def _train(subject: "Subject", site: str, epochs: int) -> str:
    from workbench.concepts import ConceptSettings, builtin_concepts, record_bottleneck
    from workbench.models import Site

    how = ConceptSettings(epochs=epochs)
    return record_bottleneck(subject, builtin_concepts(), site=Site.parse(site), settings=how).path.name
