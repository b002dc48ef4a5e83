"""What a bottleneck says of a reply, drawn: concepts by token, shares of known and unknown, and one token's parts."""

import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from workbench.dashboard.parts.present import shown
from workbench.dashboard.parts.rack import KEPT
from workbench.plots import Figure, rates_figure
from workbench.plots.concepts import concept_map_figure, informed_figure, shares_figure, waterfall_figure
from workbench.statistics import Score

PARTS = ("known", "discovered", "residual")
_PROBE = "probe on "
_READ = {
    "auroc": "near<br>misses", "auroc_all": "all other<br>texts", "probe on the stream": "probe:<br>stream",
    "probe on the known part": "probe:<br>known", "probe on discovered + residual": "probe:<br>the rest",
    "probe on the stream after LEACE": "probe:<br>LEACE",
}  # fmt: skip
_SHUFFLED = ", shuffled labels"


def explained(found: Mapping[str, Any], command: str, python: str) -> None:
    """An explanation, as `workbench concepts explain --json` has it."""
    st.text(f"{found['prompt']}\n\n{''.join(found['tokens'])}")
    _map(found, command, python)
    _shares(found)
    _token(found)


def _map(found: Mapping[str, Any], command: str, python: str) -> None:
    tokens, known, exact = found["tokens"], found["by_token"]["known"], found["exact"]
    table = pd.DataFrame(known)
    table.insert(0, "text", tokens)
    table.insert(0, "token", range(1, len(tokens) + 1))
    table["logit"] = found["logits"]
    most = next(iter(found["concepts"].items()))
    alt = (
        f"Map of what {len(known)} known concepts add to the logit of each of {len(tokens)} tokens; on average "
        f"{most[0]} adds most in size, {most[1]:+.2f} a token."
    )
    shown(
        concept_map_figure(tokens, list(known), np.array(list(known.values())), exact), table, "concept-map", alt,
        command=command, python=python,
    )  # fmt: skip
    if exact:
        st.caption(
            f"Logits are less the vocabulary's mean. The parts of every token sum to its logit; the largest gap is "
            f"{found['error']:.1g}. One reply, n={len(tokens)} tokens: what is here is an account of it, and no effect."
        )
    else:
        st.caption("The bottleneck is not before the head: parts are of first order, gradient times part, and no sum.")


def _shares(found: Mapping[str, Any]) -> None:
    tokens, rows = found["tokens"], np.array(found["by_token"]["shares"])
    table = pd.DataFrame(rows, columns=list(PARTS))
    table.insert(0, "text", tokens)
    table.insert(0, "token", range(1, len(tokens) + 1))
    said = ", ".join(f"{name} {100 * found['shares'][name]:.0f} %" for name in PARTS)
    st.subheader("Known, discovered, and what is left", anchor=False)
    alt = f"Bars of the shares of known, discovered and residual of each token's logit; on average {said}."
    shown(shares_figure(tokens, rows, found["exact"]), table, "concept-shares", alt)
    st.caption(f"On average {said}. Of the discovered part, some is the same in every token.")


def _token(found: Mapping[str, Any]) -> None:
    tokens = found["tokens"]
    st.subheader("One token", anchor=False)
    number = st.slider("Token of the reply", 1, len(tokens), 1, key="concept-token", **KEPT) if len(tokens) > 1 else 1
    number = min(int(number), len(tokens)) - 1
    parts = [(str(name), float(value)) for name, value in found["by_token"]["parts"][number]]
    alt = f"The parts of the logit of token {number + 1}: " + ", ".join(f"{n} {v:+.2f}" for n, v in parts) + "."
    table = pd.DataFrame(parts, columns=["part", "logits"])
    shown(waterfall_figure(parts, tokens[number], found["exact"]), table, "concept-parts", alt)


def informed(found: Mapping[str, Any], command: str) -> None:
    """The training texts that informed a concept, beside random ones."""
    top = [(row["activation"], row["gradient"], row["text"]) for row in found["texts"]]
    others = [(alike, gradient) for gradient, alike in found["others"]]
    table = pd.DataFrame(found["texts"])
    alt = (
        f"{len(top)} of {found['n']} training texts that informed {found['concept']} most, against {len(others)} "
        "random ones: likeness of activations across, score by gradient up."
    )
    shown(informed_figure(top, others, found["concept"]), table, "informed", alt, command=command)
    for row in found["texts"]:
        st.text(f"{row['gradient']:+.3g}   {row['text']}")
    st.caption(
        f"Of {found['n']} training texts. The score says which way a step of training on a text would move the "
        "concept's part in this reply; it is a first order, and no proof that the text was needed."
    )


def measured(results: Mapping[str, Any]) -> None:
    """What was measured of a bottleneck on test texts, beside labels that say nothing."""
    scores = [Score.model_validate(row) for row in results["scores"]]
    table = pd.DataFrame([score.model_dump() for score in scores])
    alt = "How well concepts are read on test texts, as AUROC in per cent, beside shuffled labels and linear probes."
    shown(_reading({score.name: score for score in scores}), table, "bottleneck", alt)
    st.caption(
        "Test texts, opened after training; means over concepts. 50 % is chance. A linear probe on the rest "
        "(discovered and residual) shows what the bottleneck leaves of concepts there; after LEACE it finds nothing."
    )


def _reading(scores: Mapping[str, Score]) -> Figure:
    names = [name for name in scores if name in _READ or name.startswith(_PROBE)]
    series: dict[str, list[Score | None]] = {
        "bottleneck": [scores[name] for name in names],
        "shuffled labels": [scores.get(f"{name}{_SHUFFLED}") for name in names],
    }
    return rates_figure([_READ.get(name, escape(name)) for name in names], series, "AUROC (%)")


def explain_command(model: str, bottleneck: str, prompt: str, tokens: int) -> str:
    """`workbench concepts explain` of a prompt."""
    said = f"--prompt {shlex.quote(prompt)} --max-new-tokens {tokens}"
    return f"workbench concepts explain {model} --bottleneck {shlex.quote(bottleneck)} \\\n  {said}"


def explain_python(model: str, bottleneck: str, prompt: str, tokens: int) -> str:
    """The same in Python."""
    return "\n".join([
        "import workbench as wb", "from workbench.concepts import Bottleneck, explain", "from pathlib import Path", "",
        f"subject = wb.open_model({model!r})", f"made = Bottleneck.load(Path({bottleneck!r}))",
        f"(found,) = explain(subject, made, wb.Prompts.of([{prompt!r}]), max_new_tokens={tokens})",
        "found.plot().show()",
    ])  # fmt: skip
