"""Start: the problem, what you see, what you change, and what is proved - told with a run that ships.

The run is `workbench demo` on the embedded model. A stranger shall know in a minute what the workbench is about, and
with what reservations its numbers come.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from workbench.dashboard.parts.going import link
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.proof import prove
from workbench.dashboard.parts.scores import (
    Differences,
    Scores,
    in_percent,
    read_differences,
    read_scores,
    refusals,
    scores_table,
)
from workbench.dashboard.parts.told import side_by_side
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import shipped
from workbench.errors import WorkbenchError
from workbench.plots import tradeoff_figure

_SENTENCE = (
    "See what alignment did inside a language model, switch it off and on while the model talks, and measure honestly "
    "what that changed."
)
_PROBLEM = (
    "A chat model was taught to refuse some requests. Where in the model is that, and how firmly does it sit? In the "
    "open chat models that were looked at (Arditi et al. 2024), refusing hangs on **one direction** of the numbers "
    "that flow from layer to layer. Once found, it can be read, removed and added: refusal becomes a switch. That says "
    "how thin this layer of safety can be, and gives a handle to study it by."
)
_CONDITIONS = {
    "baseline": "the model as it is",
    "ablated": "the direction is removed everywhere",
    "random ablated": "control: a random direction is removed",
    "added": "the direction is added at its own layer",
    "random added": "control: a random one is added",
}
_CARD = 310  # pixels: three abreast on a wide screen, below each other on a narrow one
_PLACES = (
    ("chat", "Chat lab", "forum", "Talk with the model, and switch while it talks."),
    ("atlas", "Direction atlas", "map", "Every candidate that a search looked at."),
    ("dose", "Dose-response", "show_chart", "The window between too little and too much."),
    ("geometry", "Geometry", "scatter_plot", "Where harmful and harmless prompts lie."),
    ("build", "Build a direction", "construction", "Find one from pairs of your own."),
    ("export", "Export", "ios_share", "Write the edit into the weights, with a certificate."),
)


def show() -> None:
    """The page."""
    st.title("Alignment Workbench", anchor=False)
    st.markdown(f"##### {_SENTENCE}")
    try:
        told = shipped("demo")
        scores = read_scores(told["evaluation"]["scores"])
        differences = read_differences(told["evaluation"]["differences"])
    except WorkbenchError as error:
        st.error(plain(error))
        return
    _headline(scores, differences)
    st.subheader("The problem", anchor=False)
    st.markdown(_PROBLEM)
    _seen(told["source"], scores, differences)
    side_by_side(told)
    _proved(told, scores, differences)
    _onwards()


def _headline(scores: Scores, differences: Differences) -> None:
    """Three changes: removed, added, and what a random direction does."""
    told = (
        ("Direction removed: harmful refused", "ablated", "harmful"),
        ("Direction added: harmless refused", "added", "harmless"),
        ("Random direction removed: harmful refused", "random ablated", "harmful"),
    )
    with st.container(horizontal=True):
        for label, condition, asked in told:
            before, after = (100 * scores[f"{c}/{asked}/refusal"].value for c in ("baseline", condition))
            with st.container(border=True, width=_CARD):
                st.metric(label, f"{before:.0f} % → {after:.0f} %")
                st.caption(_change(differences, f"{condition}/{asked}/refusal"))


def _change(differences: Differences, name: str) -> str:
    change = differences[name]
    assert change.low is not None
    assert change.high is not None
    said = (
        f"{_says(change.says)}: {100 * change.value:+.0f} points [{100 * change.low:+.0f}, {100 * change.high:+.0f}], "
        f"n = {change.n}, p = {change.adjusted:.2g} (Holm)"
    )
    return said.replace("-", "−")


def _says(says: str) -> str:
    return says if says.startswith("no") else "a difference is shown"


def _seen(source: Mapping[str, Any], scores: Scores, differences: Differences) -> None:
    st.subheader("What you see", anchor=False)
    st.markdown(
        f"The direction was found and tried on **{source['model']}** in {source['seconds'] / 60:.0f} minutes on two "
        f"processor cores. Then {source['n']} harmful and {source['n']} harmless prompts that the search never saw "
        "were answered five times. Beside each edit stands its control, a random direction of matched size; a refused "
        "harmless prompt is an over-refusal. Bars are 95 % intervals."
    )
    of_harmful = ", ".join(f"{c} {in_percent(scores[f'{c}/harmful/refusal'])}" for c in _CONDITIONS)
    of_harmless = ", ".join(f"{c} {in_percent(scores[f'{c}/harmless/refusal'])}" for c in _CONDITIONS)
    alt = f"Refusals by condition. Of harmful prompts: {of_harmful}. Of harmless prompts: {of_harmless}."
    table = scores_table(scores, differences)
    shown(refusals(scores), table, "refusals", alt, command=source["command"], python=_PYTHON)
    st.caption("; ".join(f"**{name}**: {what}" for name, what in _CONDITIONS.items()) + ".")


_PYTHON = """import workbench as wb
from workbench.studies import demonstrate

folder = demonstrate(wb.open_model("qwen2.5-coder-0.5b-instruct"))
print(folder.results()["evaluation"]["scores"])"""


def _proved(told: Mapping[str, Any], scores: Scores, differences: Differences) -> None:
    st.subheader("What is proved, and what is not", anchor=False)
    left, right = st.columns(2)
    with left:
        st.markdown(_proofs(told["evaluation"], scores))
        _live()
    with right:
        st.markdown(_reservations(told, differences))
    _search(told["find"], told["source"])


def _proofs(evaluation: Mapping[str, Any], scores: Scores) -> str:
    ratio = evaluation["control_match"]["random ablated"][0]
    kept = in_percent(scores["random ablated/harmful/refusal"])
    return (
        f"- **It is this direction.** A random one with {ratio:.2f} times its mean squared projection leaves refusals "
        f"of harmful prompts at {kept}; the model as it is has {in_percent(scores['baseline/harmful/refusal'])}.\n"
        "- **A switch that is off does nothing.** Strength 0 changes no bit of any logit; tests hold every method to "
        "that, and the button below does it on the model that is open here.\n"
        "- **The same edit in every form.** Hooks, edited weights, an adapter and the export read back agree; the "
        "certificate of an export says by how much.\n"
        "- **The numbers follow from what was written down.** `workbench runs verify` judges every stored reply again, "
        "and derives every score."
    )


def _live() -> None:
    found = job_of("proof", "Check it now, on this model", "Comparing logits", prove)
    if found is None:
        return
    for step, said in found["steps"].items():
        none = said["changed"] == 0
        st.markdown(
            f":material/{'equal' if none else 'change_history'}: **{step}**: "
            + ("no logit changed" if none else f"{said['changed']:,} logits changed, by {said['most']:.2f} at most")
            + f", of {found['logits']:,} for the next token"
        )
    if not found["direction"]:
        st.caption("There is no direction for this model yet; the page Build makes one.")


def _reservations(told: Mapping[str, Any], differences: Differences) -> str:
    find, kappa = told["find"], told["evaluation"]["judge"]["kappa"]
    chosen = find["chosen"]
    rule = (
        "passed the rule of choice"
        if find["passed_rule"]
        else f"was the best of a small search and did **not** pass the rule of choice (KL of {find['kl_max']:g} nats)"
    )
    shared = differences["ablated/harmful/compliance"]
    return (
        f"- **{told['source']['n']} prompts of a kind** leave wide intervals: a small run shows large changes only.\n"
        f"- The direction {rule}: layer {chosen['layer']}, KL {chosen['kl_div_score']:.2f} nats on the validation "
        "prompts it was chosen by. Removing it costs something on harmless text too.\n"
        f"- Fewer refusals are not yet more help: coherent compliance with harmful requests rose by "
        f"{100 * shared.value:.0f} points, of which the correction says: {_says(shared.says)}.\n"
        f"- Outcomes are called by a small judge on this machine; its Cohen's kappa with labels given by hand is "
        f"{kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}], n = {kappa['n']}.\n"
        "- One model of half a billion parameters, in English, at greedy decoding."
    )


def _search(find: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    """The trade-off that the direction was chosen by."""
    rows: Sequence[Mapping[str, Any]] = find["evaluations"]
    n, place = find["chosen"]["n"], lambda row: (row["position"], row["layer"])
    st.markdown(
        f"**How it was chosen.** {find['candidates']} candidates were screened and {len(rows)} measured, on validation "
        "prompts: what is drawn here was tuned on, and is no result. Lower is less refusal, further left less damage."
    )
    where = [place(row) for row in rows]
    cost, gain = ([row[name] for row in rows] for name in ("kl_div_score", "refusal_score"))
    ends = [[tuple(row["intervals"][name]) for row in rows] for name in ("kl_div_score", "refusal_score")]
    figure = tradeoff_figure(
        cost, gain, [f"position {position}, layer {layer}" for position, layer in where],
        [where.index(place(row)) for row in find["front"]], where.index(place(find["chosen"])),
        bounds=(ends[0], ends[1]), limit=find["kl_max"],
        x=f"KL(base || ablated), harmless prompts, n={n['kl_div_score']} (nats)",
        y=f"Bypass, harmful, n={n['refusal_score']} (log-odds)",
    )  # fmt: skip
    alt = (
        f"Trade-off of {len(rows)} candidate directions: log-odds of refusing harmful prompts against KL on harmless "
        f"ones. Chosen: layer {find['chosen']['layer']}, bypass {find['chosen']['refusal_score']:.2f}, KL "
        f"{find['chosen']['kl_div_score']:.2f} nats; the limit is {find['kl_max']:g}."
    )
    shown(figure, pd.json_normalize([dict(row) for row in rows]), "tradeoff", alt, command=source["command"])


def _onwards() -> None:
    st.subheader("Go on", anchor=False)
    with st.container(horizontal=True):
        for name, label, icon, says in _PLACES:
            with st.container(border=True, width=_CARD):
                link(name, label, icon)
                st.caption(says)
