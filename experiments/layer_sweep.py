"""At which layers does the refusal direction work?

1. The difference in means before every layer, at one position of the template, from train prompts.
2. Each is measured on the same validation prompts: bypass (refusal log-odds of harmful prompts, the direction ablated
   everywhere), induce (of harmless ones, it added at its layer), KL on harmless ones where it is ablated.
3. The same along one random direction, as long as each layer's difference in means.

All layers are shown and none is chosen. These are validation prompts: a layer that is picked from the figure is to be
measured on others (`workbench evaluate`).
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from experiments.experiment import Answer, FoundAndChosen
from workbench.plots.panels import panels_figure
from workbench.prompts import Prompts
from workbench.runs import RunFolder
from workbench.search import SearchSettings, record_find
from workbench.statistics import Score

REAL, RANDOM = "difference-in-means", "random-control"
MEASURES = {
    "refusal_score": "bypass: harmful prompts, ablated<br>(log-odds of refusing)",
    "steering_score": "induce: harmless prompts, added<br>(log-odds of refusing)",
    "kl_div_score": "KL from the model as it is,<br>harmless prompts, ablated (nats)",
}


class Settings(FoundAndChosen):
    """Prompts, how many of them, and the position."""

    position: int


def answer(settings: Settings, prompts: Mapping[str, Prompts], folder: RunFolder) -> Answer:
    """A search of all layers by either method; what it would choose is left alone."""
    pairs, held = settings.pairs("train", prompts), settings.pairs("val", prompts)
    runs = {}
    for method in (REAL, RANDOM):
        search = SearchSettings(
            n_train=settings.n_train, n_val=settings.n_val, positions=(settings.position,), filtered=settings.filtered,
            method=method, strategy="exhaustive",
        )  # fmt: skip
        runs[method] = record_find(settings.subject, pairs, validation=held, settings=search, out=folder.path / method)
    rows = {method: sorted(run.results()["evaluations"], key=lambda row: row["layer"]) for method, run in runs.items()}
    names = {REAL: "refusal direction", RANDOM: "random direction, as long"}
    panels = {
        title: {names[method]: points(rows[method], measure) for method in runs} for measure, title in MEASURES.items()
    }
    return Answer(
        line=told(rows),
        figure=panels_figure(panels, "layer"),
        results={"rows": rows, "directions": {method: run.results()["direction"] for method, run in runs.items()}},
        parts=tuple(runs.values()),
    )


def points(rows: Sequence[Mapping[str, Any]], measure: str) -> list[tuple[float, Score]]:
    """A measure by layer, with its intervals."""
    found = []
    for row in rows:
        low, high = row["intervals"][measure]
        score = Score(name=measure, value=row[measure], low=low, high=high, n=row["n"][measure])
        found.append((float(row["layer"]), score))
    return found


def told(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The layers at which the direction does what its random twin does nowhere."""
    known = {method: [row for row in rows[method] if _is_measured(row)] for method in (REAL, RANDOM)}
    least = min((row["intervals"]["refusal_score"][0] for row in known[RANDOM]), default=-inf)
    most = max((row["intervals"]["steering_score"][1] for row in known[RANDOM]), default=inf)
    both = [
        row["layer"]
        for row in known[REAL]
        if row["intervals"]["refusal_score"][1] < least and row["intervals"]["steering_score"][0] > most
    ]
    n = rows[REAL][0]["n"]
    where = ", ".join(map(str, both)) or "none"
    broken = sum(map(len, rows.values())) - sum(map(len, known.values()))
    without = f"; {broken} layers, at which a direction breaks the model, are left out" if broken else ""
    return (
        f"layers at which ablating bypasses and adding induces refusal beyond every interval of the random direction: "
        f"{where} of {len(rows[REAL])} (n={n['refusal_score']} harmful, {n['steering_score']} harmless validation "
        f"prompts){without}"
    )


def _is_measured(row: Mapping[str, Any]) -> bool:
    """Whether both its scores have intervals: those of a direction that breaks the model are no numbers."""
    return None not in (*row["intervals"]["refusal_score"], *row["intervals"]["steering_score"])
