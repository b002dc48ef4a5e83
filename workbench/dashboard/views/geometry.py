"""Geometry: where harmful and harmless prompts lie, in a plane of each layer that a slider moves through.

Planes are turned so that each goes on from the layer before. Beside them stand the measures of the whole space, each
with what shuffled labels give: a gap has a length where there is nothing, too.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from workbench.dashboard.engine import Job
from workbench.dashboard.parts.engine import engine
from workbench.dashboard.parts.present import plain, shown
from workbench.dashboard.parts.rack import KEPT
from workbench.dashboard.parts.shape import measures, named_tokens, planes, points_table, wide_table
from workbench.dashboard.parts.work import job_of
from workbench.dashboard.sources import SHIPPED, shipped
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.models import Subject

_PARTS = ("train", "val")  # the test part is reported on, and nothing is looked at in it
_METHODS = ("pca", "umap", "pacmap")
_MEASURED = "measured here"


def show() -> None:
    """The page."""
    st.title("Geometry", anchor=False)
    st.caption(
        "The stream after every block at one token, for harmful and harmless prompts. Move the slider, or press Play; "
        "draw a lasso or a box around points to list their prompts."
    )
    found = _found()
    if found is not None:
        _planes(found)
        _measures(found)
        _tokens(found)


def _found() -> dict[str, Any] | None:
    """What ships, or what was measured on the open model in this session."""
    with st.expander("Measure the open model", icon=":material/straighten:"):
        measured = _measure()
    names = [SHIPPED] + [_MEASURED] * (measured is not None)
    chosen = names[-1]
    if len(names) > 1:
        chosen = str(st.segmented_control("Result", names, default=_MEASURED, required=True, key="geometry-result"))
    try:
        found: dict[str, Any] = shipped("geometry") if chosen == SHIPPED or measured is None else measured
    except WorkbenchError as error:
        st.info(plain(error))
        return None
    st.caption(_said(found, chosen))
    return found


def _said(found: Mapping[str, Any], source: str) -> str:
    one, other = found["n"]
    return (
        f"**{found['model']['name']}**, {one} harmful and {other} harmless prompts, token {found['position']} from the "
        f"end of the prompt; {source}. It describes these prompts: what is read off here is measured on others."
    )


def _measure() -> dict[str, Any] | None:
    first, second, third, fourth = st.columns(4)
    with first:
        part = st.selectbox("Built-in prompts", _PARTS, key="geometry-part", **KEPT)
    with second:
        position = st.number_input("Token, from the end", -16, -1, -1, key="geometry-position", **KEPT)
    with third:
        method = st.selectbox("Plane", _METHODS, key="geometry-plane", **KEPT)
    with fourth:
        n = st.number_input("Prompts of each side", 8, 128, 64, key="geometry-n", **KEPT)
    work = _work(str(part), int(position), str(method), int(n))
    ready = engine().subject is not None
    if not ready:
        st.caption("The model is still being opened.")
    result: dict[str, Any] | None = job_of("geometry", "Measure", "Geometry", work, disabled=not ready)
    return result


def _work(part: str, position: int, method: str, n: int) -> Any:
    def measure(subject: "Subject", job: Job) -> dict[str, Any]:
        from probes.geometry import geometry_of, projection_of
        from probes.geometry.table import capture_classes
        from workbench.prompts import builtin_pairs

        whole = builtin_pairs(part)
        pairs = whole.sample(n)
        acts, positive = capture_classes(subject, pairs, position=position, batch_size=16)
        texts = tuple(prompt.text for side in (pairs.positive, pairs.negative) for prompt in side)
        flat = projection_of(acts, positive, texts, position=position, method=method)
        table = geometry_of(acts, positive, position=position)
        return {
            "model": subject.identity, "position": position, "n": list(table.n), "rows": table.rows(), "tokens": None,
            "planes": flat.plain(), "asked": {"part": part, "n": n, "method": method},
        }  # fmt: skip

    return measure


def _planes(found: Mapping[str, Any]) -> None:
    flat = found["planes"]
    opens = st.select_slider(
        "Layer that is shown first", flat["layers"], flat["layers"][len(flat["layers"]) // 2], key="geometry-layer",
        help="It is in the address of the page. The slider below the figure moves through all layers at once.", **KEPT,
    )  # fmt: skip
    alt = (
        f"Each prompt as a point in the {flat['method']} plane of a layer, harmful ones as orange circles and harmless "
        "ones as blue diamonds; a slider moves through the layers."
    )
    picked = shown(
        planes(flat, opens), points_table(flat), "geometry-planes", alt, on_select="rerun",
        selection_mode=("lasso", "box"), command=_command(found), python=_python(found),
    )  # fmt: skip
    _listed(flat, _numbers(picked))


def _numbers(picked: Any) -> list[int]:
    """The prompts whose points were drawn around."""
    points: Sequence[Mapping[str, Any]] = picked["selection"]["points"] if picked else []
    found = [point.get("customdata") for point in points]
    return sorted({int(at[0] if isinstance(at, list) else at) for at in found if at is not None})


def _listed(flat: Mapping[str, Any], numbers: Sequence[int]) -> None:
    known = [number for number in numbers if 0 <= number < len(flat["texts"])]
    if not known:
        st.caption("Nothing is drawn around.")
        return
    rows = [("harmful" if flat["positive"][at] else "harmless", flat["texts"][at]) for at in known]
    harmful = sum(side == "harmful" for side, _ in rows)
    st.caption(f"{len(rows)} prompts are drawn around: {harmful} harmful, {len(rows) - harmful} harmless.")
    st.dataframe(pd.DataFrame(rows, columns=["class", "prompt"]), hide_index=True, key="geometry-picked")


def _measures(found: Mapping[str, Any]) -> None:
    st.subheader("By layer, in the whole space", anchor=False)
    st.dataframe(wide_table(found["rows"]), hide_index=True, key="geometry-wide", alt="Measures of each layer.")
    st.caption("Value [95 %, from random half-samples] | mean of shuffled labels, where the measure needs labels.")
    alt = "Each measure by layer with its 95 % interval, beside the same with shuffled labels as a dotted grey line."
    table = pd.DataFrame(found["rows"])
    shown(measures(found["rows"]), table, "geometry-measures", alt, command=_command(found), python=_python(found))


def _tokens(found: Mapping[str, Any]) -> None:
    if not found["tokens"]:
        return
    st.subheader("Tokens that the direction points to", anchor=False)
    alt = "Cosines of the direction with tokens of the vocabulary, beside the extreme of random directions in grey."
    table = pd.DataFrame(found["tokens"])
    shown(named_tokens(found["tokens"]), table, "geometry-tokens", alt, command=_command(found))


def _command(found: Mapping[str, Any]) -> str:
    if "source" in found:
        return str(found["source"]["command"])
    asked = found["asked"]
    sets = f"--harmful harmful:{asked['part']} --harmless harmless:{asked['part']}"
    how = f"--n {asked['n']} --position {found['position']} --plane {asked['method']}"
    return f"workbench geometry {found['model']['name']} {sets} {how} --out geometry"


def _python(found: Mapping[str, Any]) -> str:
    part = found.get("asked", {}).get("part", "train")
    where = f"position={found['position']}"
    lines = [
        "import workbench as wb", "from probes.geometry import geometry, project", "",
        f"subject = wb.open_model({found['model']['name']!r})", f"pairs = wb.builtin_pairs({part!r})",
        f"geometry(subject, pairs, {where}).plot()",
        f"project(subject, pairs, {where}, method={found['planes']['method']!r}).plot()",
    ]  # fmt: skip
    return "\n".join(lines)
