"""Why a direction of truth must be fitted on "is" and on "is not": truth and polarity, after Bürger et al. 2024
(arXiv:2407.12831).

With t = 1 for a true and -1 for a false statement, p = 1 where it says and -1 where it denies, the stream is

    h = mean + t truth + t p polarity        truth = (said + denied) / 4,  polarity = (said - denied) / 4

where `said` and `denied` are the true mean less the false mean of the statements that say, and of those that deny. A
direction fitted to the former alone is truth + polarity; on the latter it reads truth - polarity, and where polarity is
the longer of the two it takes the false for the true: AUROC below a half, cos(said, denied) below 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.base import clone

from probes.linear import Method
from probes.linear.controls import shuffled_in_folds
from probes.linear.folds import topic_groups
from probes.linear.method import methods
from probes.linear.reading import auroc_draws, auroc_score, score_of, topic_draws
from probes.linear.validation import Labels, Places
from probes.truth.direction import LAST
from probes.truth.statements import Statements
from workbench.activations import Activations
from workbench.display import Shown
from workbench.models import Site
from workbench.runs import track
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

SAYS, DENIES, BOTH, SHUFFLED = "is", "is not", "both", "both, shuffled labels"
READ = ((SAYS, SAYS), (SAYS, DENIES), (DENIES, SAYS), (DENIES, DENIES), (BOTH, SAYS), (BOTH, DENIES), (SHUFFLED, BOTH))
_DRAWS = 400
Points = Float64[np.ndarray, "n d_model"]


def truth_and_polarity(x: Points, true: Labels, denies: Labels) -> tuple[np.ndarray, np.ndarray]:
    """The two vectors of the equation above."""
    said, denied = (_gap(x[rows], true[rows]) for rows in (~denies, denies))
    return (said + denied) / 4, (said - denied) / 4


def _gap(x: Points, true: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " d_model"]:
    return np.asarray(x[true].mean(axis=0) - x[~true].mean(axis=0))


@dataclass(frozen=True, eq=False)
class Polarity(Shown):
    """At each site, by what a probe was fitted to and what it reads: its AUROC on topics left out; and the cosine."""

    sites: tuple[Site, ...]
    read: Mapping[tuple[str, str], tuple[Score, ...]]
    cosines: tuple[Score, ...]

    def __repr__(self) -> str:
        best = max(range(len(self.sites)), key=lambda place: self.read[SAYS, SAYS][place].value)
        parts = (
            f"{fit} -> {on} {self.read[fit, on][best].value:.2f}"
            for fit, on in ((SAYS, SAYS), (SAYS, DENIES), (BOTH, DENIES))
        )
        return (
            f"Polarity({len(self.sites)} sites; at {self.sites[best]}: {', '.join(parts)}, cosine {self.cosines[best]})"
        )

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each site and each way of fitting and reading."""
        import pandas as pd

        return pd.DataFrame(
            {"site": str(site), "layer": site.layer, "fitted": fit, "read": on, "auroc": scores[place].value,
             "low": scores[place].low, "high": scores[place].high, "n": scores[place].n,
             "cosine": self.cosines[place].value}
            for place, site in enumerate(self.sites)
            for (fit, on), scores in self.read.items()
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        cosines = {str(site): score.model_dump() for site, score in zip(self.sites, self.cosines, strict=True)}
        return {"says": repr(self), "cosines": cosines, "rows": self.to_pandas().to_dict("records")}

    def plot(self) -> Any:
        """AUROC by block, for each way of fitting and reading."""
        from workbench.plots import curves_figure

        series = {
            f"{fit} → {on}": list(zip((float(site.layer) for site in self.sites), scores, strict=True))
            for (fit, on), scores in self.read.items()
            if (fit, on) != (DENIES, SAYS)
        }
        return curves_figure(series, "block", "AUROC on topics left out", marks=False, limit=0.5)


def polarity(acts: Activations, statements: Statements, method: Method | str = "mass-mean", seed: int = 0) -> Polarity:
    """Fit on statements that say, that deny, and on both; read either kind on topics left out."""
    true, denies = statements.true, statements.denies
    groups = topic_groups(statements.plain(), true)
    draws = topic_draws(groups, seed, _DRAWS)
    pipeline = (methods[method]() if isinstance(method, str) else method).candidates()[0]
    dealt = shuffled_in_folds(true, groups, np.random.default_rng(seed))
    every = np.ones(len(true), dtype=bool)
    kinds = {SAYS: (~denies, true), DENIES: (denies, true), BOTH: (every, true), SHUFFLED: (every, dealt)}
    found: dict[tuple[str, str], list[Score]] = {way: [] for way in READ}
    cosines = []
    for site in track(acts.sites, "Truth and polarity"):
        x = acts.at(site, LAST).double().numpy()
        for fit, (rows, labels) in kinds.items():
            said = read_elsewhere(pipeline, x, labels, groups, rows)
            for on in (on for way, on in READ if way == fit):
                found[fit, on].append(_auroc(said, labels, groups, draws, kinds[on][0]))
        cosines.append(score_of("cosine", _cosines(x, true, denies, draws), len(true), "neither"))
    return Polarity(acts.sites, {way: tuple(scores) for way, scores in found.items()}, tuple(cosines))


def read_elsewhere(
    pipeline: Any, x: Points, labels: Labels, groups: Places, rows: Labels
) -> Float64[np.ndarray, " n"]:  # fmt: skip
    """Each statement's decision by a probe that was fitted to `rows` of all other topics."""
    said = np.empty(len(labels))
    for topic in np.unique(groups):
        apart = groups == topic
        fit = ~apart & rows
        said[apart] = clone(pipeline).fit(x[fit], labels[fit]).decision_function(x[apart])
    return said


def _auroc(
    said: Float64[np.ndarray, " n"], labels: Labels, groups: Places, draws: Float64[np.ndarray, "draw n"], rows: Labels
) -> Score:  # fmt: skip
    return auroc_score("AUROC", auroc_draws(said[rows], labels[rows], groups[rows], draws[:, rows]), labels[rows])


def _cosines(
    x: Points, true: Labels, denies: Labels, draws: Float64[np.ndarray, "draw n"]
) -> Float64[np.ndarray, " draw"]:
    """cos(said, denied) of each draw of topics."""

    def gaps(rows: Labels) -> Float64[np.ndarray, "draw d_model"]:
        one, other = (draws * (rows & side) for side in (true, ~true))
        return np.asarray(one @ x / one.sum(axis=1)[:, None] - other @ x / other.sum(axis=1)[:, None])

    said, denied = gaps(~denies), gaps(denies)
    return np.asarray((said * denied).sum(axis=1) / np.linalg.norm(said, axis=1) / np.linalg.norm(denied, axis=1))
