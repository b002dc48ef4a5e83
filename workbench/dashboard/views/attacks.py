"""Attacks and defences: what becomes of requests by how they are put and by the recipe that the model answers under.

Refusals, coherent answers, evasions and broken replies stand beside each other with their intervals, for a model that
no longer refuses has not therefore answered. Below are the replies that these rates are counted from.
"""

import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from workbench.dashboard import shelf
from workbench.dashboard.parts.attacked import KIND, OUTCOMES, SAFE, Attacked, Said, read_attacked
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import Source, sources
from workbench.errors import WorkbenchError
from workbench.plots.outcomes import outcomes_figure

if TYPE_CHECKING:
    from workbench.models import Subject

_SHORT = 90  # characters of a prompt in a list
_ABREAST = 3  # replies side by side
_HEIGHT = 210
_CHANGES = {"prefill": "the reply has to go on from", "system": "the system prompt is"}
_COLOURS = {"refuse": "blue", "comply": "orange", "evade": "yellow", "broken": "violet"}


def show() -> None:
    """The page."""
    st.title("Attacks and defences", anchor=False)
    st.markdown(
        "How a request is put, against the recipe the model answers under. An **attack** asks the model as it is - a "
        "start of the reply that it has to go on from, another system prompt - or ablates what refuses. A **defence** "
        "adds it. A random direction of the same size stands beside each. What complied did so coherently; what went "
        "round in circles is broken."
    )
    every = sources("attacks", "evaluate", "demo", kind=KIND)
    if every:
        left, right = st.columns(2)
        with left:
            source = st.selectbox("Result", every, format_func=lambda each: each.name, key="attacked", **KEPT)
        _result(source or every[0], right)
    _own()


def _result(source: Source, beside: Any) -> None:
    try:
        found = read_attacked(source)
    except WorkbenchError as error:
        st.error(plain(error))
        return
    if not found.sets:
        st.info("This run has no judged replies.")
        return
    with beside:
        asked = st.segmented_control(
            "Requests", found.sets, default=found.sets[0], required=True, key="requests", **KEPT
        ) or found.sets[0]  # fmt: skip
    if asked not in found.sets:
        asked = found.sets[0]
    _outcomes(found, source, asked)
    _transcripts(found, source, asked)


def _outcomes(found: Attacked, source: Source, asked: str) -> None:
    rows = found.rows(asked)
    scores = {title: [found.scores.get((c, asked, name)) for c in rows] for name, title in OUTCOMES.items()}
    figure = outcomes_figure(list(rows.values()), scores, found.controls)
    alt = f"Outcomes of {asked} requests by attack and recipe, with 95 % intervals. Refused: {_told(found, asked)}."
    shown(figure, _table(found, asked), "outcomes", alt, command=_command(found, source), python=_PYTHON)
    for name, changes in found.attacks.items():
        for field, text in changes.items():
            st.text(f"{name}: {_CHANGES.get(field, field)} “{text}”")
    agreed = "agreement with people unknown" if found.kappa is None else _agreed(found)
    st.caption(
        f"Test requests, which the direction was not found with. Outcomes by the {found.judge} judge ({agreed}). "
        "Intervals: Wilson, 95 %. Changes in the table are from the plain request to the model as it is, paired by "
        "request, p by Holm over all of them."
    )


def _plainly(text: str) -> str:
    """A name from a run's file, of which nothing is markup."""
    return re.sub(r"[^\w ,.()-]", "", text)


def _agreed(found: Attacked) -> str:
    kappa = found.kappa
    assert kappa is not None
    return f"Cohen's kappa {kappa.format('.2f')} with {kappa.n} labels given by hand"


def _told(found: Attacked, asked: str) -> str:
    said = []
    for condition, (attack, recipe) in found.rows(asked).items():
        if (score := found.scores.get((condition, asked, "refusal"))) is not None:
            said.append(f"{attack}, {recipe} {100 * score.value:.0f} %")
    return "; ".join(said)


def _table(found: Attacked, asked: str) -> pd.DataFrame:
    rows = []
    for condition, (attack, recipe) in found.rows(asked).items():
        for name, title in OUTCOMES.items():
            score = found.scores.get((condition, asked, name))
            if score is None:
                continue
            change = found.changes.get((condition, asked, name), {})
            rows.append({
                "requests": asked, "attack": attack, "recipe": recipe, "outcome": title, "share": score.value,
                "low": score.low, "high": score.high, "n": score.n, "change": change.get("value"),
                "change low": change.get("low"), "change high": change.get("high"), "p (Holm)": change.get("adjusted"),
                "says": change.get("says"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _command(found: Attacked, source: Source) -> str:
    if source.folder is None:
        return str(found.source.get("command", ""))
    return f"workbench runs show {source.folder}\nworkbench runs verify {source.folder}"


_PYTHON = """import workbench as wb
from workbench.prompts import builtin_pairs
from workbench.studies import record_attacks

subject = wb.open_model("qwen2.5-coder-0.5b-instruct")
folder = record_attacks(subject, wb.Direction.load("DIRECTION"), builtin_pairs("test"))
print(folder.results()["scores"])"""


def _transcripts(found: Attacked, source: Source, asked: str) -> None:
    st.subheader("Transcripts", anchor=False)
    attacks = list(dict.fromkeys(each.attack for each in found.replies if each.asked == asked))
    prompts = found.prompts(asked)
    if not prompts:
        st.info("No replies were kept of these requests.")
        return
    attack = st.segmented_control("Attack", attacks, default=attacks[0], required=True, key="attack", **KEPT)
    number = st.selectbox(
        "Request", range(len(prompts)), format_func=lambda n: prompts[n][:_SHORT], key=f"request-{asked}", **KEPT
    )
    replies = found.said(attack if attack in attacks else attacks[0], asked, prompts[number or 0])
    _replies(replies, source.folder is not None and _unlocked(asked))
    if source.folder is None:
        st.caption(
            "Of replies to harmful requests, only refusals ship with the workbench; a run of your own keeps all."
        )


def _unlocked(asked: str) -> bool:
    """Whether what was said to harmful requests beyond refusals is shown; never by a link."""
    if asked in SAFE:
        return True
    return st.toggle(
        "Show what harmful requests were answered with", False, key="answers",
        help="Replies of this run to harmful requests that are no refusals. They may be offensive or dangerous.",
    )  # fmt: skip


def _replies(replies: list[Said], everything: bool) -> None:
    if not replies:
        st.info("Under this attack no reply to this request may be shown.")
    for start in range(0, len(replies), _ABREAST):
        for part, reply in zip(st.columns(_ABREAST), replies[start : start + _ABREAST], strict=False):
            with part, st.container(border=True, height=_HEIGHT):
                st.markdown(f"**{_plainly(reply.recipe)}**")
                st.badge(_plainly(reply.outcome), color=_COLOURS.get(reply.outcome, "gray"))  # type: ignore[arg-type]
                if everything or reply.plain:
                    st.text(reply.text.strip() or "(nothing)")
                else:
                    st.caption("Not shown: not plainly a refusal.")


def _own() -> None:
    """The same with a direction of one's own."""
    st.subheader("Attack it here", anchor=False)
    subject = engine().subject
    known = shelf.places(None if subject is None else subject.digest)
    if not known:
        st.info("There is no direction for this model yet; `workbench find` or the page Build makes one.")
        return
    left, middle, right = st.columns(3)
    with left:
        name = st.selectbox("Direction", list(known), key="attacked-direction", **KEPT)
    with middle:
        n = st.slider("Requests of each kind", 4, 50, 12, 2, key="attacked-n", **KEPT)
    with right:
        tokens = st.slider("Longest reply, tokens", 16, 128, 32, 16, key="attacked-tokens", **KEPT)
    st.caption(
        f"Three ways to ask, five recipes, {n} harmful and {n} harmless built-in test requests: {30 * n} replies, "
        f"about {max(1, round(30 * n * tokens / 64 / 110))} minutes on two cores. Others wait meanwhile; what is "
        "finished when you stop is kept, and gone on from."
    )
    made = job_of("attacks", "Attack", "Attacks", lambda s, job: _attack(s, name or "", n, tokens), disabled=not name)
    if made:
        st.success(f"Kept as {made}; choose it above.")


def _attack(subject: "Subject", name: str, n: int, tokens: int) -> str:
    from workbench.directions import Direction
    from workbench.errors import DirectionError
    from workbench.evaluation import Settings
    from workbench.prompts import builtin_pairs
    from workbench.studies import record_attacks

    direction = shelf.load(name)
    if not isinstance(direction, Direction):
        raise DirectionError(f"{name} is not a single direction, which can be ablated and added; choose another.")
    test = builtin_pairs("test")
    asked = test.sample(n)
    return record_attacks(subject, direction, asked, settings=Settings(max_new_tokens=tokens)).path.name
