"""The figures and the tables of a geometry, from its plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.plots import Figure
from workbench.plots.geometry import geometry_figure, planes_figure, tokens_figure
from workbench.statistics import Score

Rows = Sequence[Mapping[str, Any]]
SIDES = ("harmful", "harmless")
_WIDE = {
    "norm of the difference": "gap of the means", "gap of the medians": "gap of the medians",
    "silhouette": "silhouette", "Fisher ratio": "Fisher ratio", "TwoNN dimension": "intrinsic dimension (TwoNN)",
}  # fmt: skip


def planes(flat: Mapping[str, Any], opens: int) -> Figure:
    """The planes with their slider, at the layer `opens`."""
    points, positive = np.array(flat["points"], dtype=np.float64), np.array(flat["positive"], dtype=bool)
    return planes_figure(
        points, flat["layers"], positive, flat["texts"], method=flat["method"], faith=flat["faith"], held=flat["held"],
        sides=SIDES, opens=opens,
    )  # fmt: skip


def points_table(flat: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each layer and prompt."""
    labels = [SIDES[0] if label else SIDES[1] for label in flat["positive"]]
    rows = [
        (layer, side, text, *point)
        for layer, plane in zip(flat["layers"], flat["points"], strict=True)
        for side, text, point in zip(labels, flat["texts"], plane, strict=True)
    ]
    return pd.DataFrame(rows, columns=["layer", "class", "prompt", "axis 1", "axis 2"])


def measures(rows: Rows) -> Figure:
    """A panel for each measure by layer."""
    layers = sorted({row["layer"] for row in rows})
    names = list(dict.fromkeys(row["measure"] for row in rows if row["layer"] == layers[-1]))
    cells = {(row["layer"], row["measure"]): row for row in rows}
    lines = {name: [_score(cells.get((layer, name))) for layer in layers] for name in names}
    controls = {
        name: [_score(cells[layer, name], "shuffled") for layer in layers]
        for name in names
        if cells[layers[-1], name]["shuffled"] is not None
    }
    return geometry_figure(layers, lines, controls)


def wide_table(rows: Rows) -> pd.DataFrame:
    """A row for each layer: value and interval, and behind the bar the mean of shuffled labels."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row["measure"] in _WIDE:
            found.setdefault(row["layer"], {"layer": row["layer"]})[_WIDE[row["measure"]]] = _cell(row)
    return pd.DataFrame(list(found.values()))


def named_tokens(rows: Rows) -> Figure:
    """The direction's tokens, beside what random directions reach."""
    said = {"top": "nearest", "bottom": "farthest"}
    named: dict[str, list[tuple[str, float]]] = {}
    random: dict[str, Score] = {}
    for row in rows:
        name = f"{row['matrix']}, {said[row['end']]}"
        named.setdefault(name, []).append((row["token"], row["cosine"]))
        ends = {"value": row["random"], "low": row["random_low"], "high": row["random_high"]}
        random[name] = Score(name=name, n=row["random_n"], **ends)
    return tokens_figure(named, random)


def _score(row: Mapping[str, Any] | None, of: str = "") -> Any:
    if row is None:
        return None
    value, low, high = (of, f"{of}_low", f"{of}_high") if of else ("value", "low", "high")
    return Score(name=row["measure"], value=row[value], low=row[low], high=row[high], n=row["n"])


def _cell(row: Mapping[str, Any]) -> str:
    control = "" if row["shuffled"] is None else f" | {row['shuffled']:.2g}"
    return f"{row['value']:.3g} [{row['low']:.2g}, {row['high']:.2g}]{control}"
