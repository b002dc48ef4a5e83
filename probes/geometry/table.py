"""How far apart two classes lie in every layer, and what shape the cloud has that they are part of.

1. The stream after each block, at one position, of positive (harmful) and negative (harmless) prompts.
2. Of each layer: norms of the means and of their difference, cosines (of the means; of the difference with that of the
   layer before), the gap of the geometric medians, silhouette, Fisher ratio, and two dimensions (see `measures`).
3. Intervals by random half-samples (Shao and Wu 1989): the measure on half of either class, drawn without replacement,
   varies as the measure on all prompts would from one set of prompts to the next. The plain bootstrap draws prompts
   twice, and copies at distance 0 would feign clusters and few dimensions. The interval is the value plus and minus
   1.96 of those deviations.
4. Beside what says that the classes differ stands the same with shuffled labels: a gap has a length and a ratio a size
   where there is nothing, all the more with few prompts. The shuffled score's interval holds 95 % of the shuffles.

It describes, and chooses no layer: what is read off here has to be measured on other prompts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64

from probes.geometry import measures
from workbench.activations import Activations, capture
from workbench.display import Shown
from workbench.errors import CaptureError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, for_tuning
from workbench.runs import track
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    "norm of the positive mean", "norm of the negative mean", "norm of the difference", "cosine of the means",
    "cosine with the layer before", "gap of the medians", "silhouette", "Fisher ratio", "TwoNN dimension",
    "participation ratio",
)  # fmt: skip
SHUFFLED = ("norm of the difference", "gap of the medians", "silhouette", "Fisher ratio")
LEAST = 8  # prompts of a class: half of them give a spread, and a neighbour of a neighbour
_SIGNED = ("cosine of the means", "cosine with the layer before", "silhouette")  # from -1 to 1; the others from 0
_DRAWS = 60
_Z = 1.96
_Points = Float64[np.ndarray, "n d"]
_Classes = Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class GeometryTable(Shown):
    """The measures of every layer, by name; `shuffled` those with shuffled labels."""

    sites: tuple[Site, ...]
    position: int
    scores: tuple[Mapping[str, Score], ...]
    shuffled: tuple[Mapping[str, Score], ...]
    n: tuple[int, int]

    def __repr__(self) -> str:
        best = int(np.argmax([row["silhouette"].value for row in self.scores]))
        score, control = (rows[best]["silhouette"] for rows in (self.scores, self.shuffled))
        return (
            f"GeometryTable({len(self.sites)} layers at position {self.position}, {self.n[0]} positive and "
            f"{self.n[1]} negative prompts; highest silhouette {score} at {self.sites[best]}, "
            f"shuffled {control.value:.3g})"
        )

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each layer and measure, with its shuffled control where it has one."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The same as plain values."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for site, scores, shuffled in zip(self.sites, self.scores, self.shuffled, strict=True):
            for name, score in scores.items():
                control = shuffled.get(name)
                yield {
                    "site": str(site), "layer": site.layer, "measure": name, "value": score.value, "low": score.low,
                    "high": score.high, "n": score.n, "shuffled": control.value if control else None,
                    "shuffled_low": control.low if control else None,
                    "shuffled_high": control.high if control else None,
                }  # fmt: skip

    def plot(self) -> Any:
        """A panel for each measure by layer, with intervals and what shuffled labels give."""
        from workbench.plots.geometry import geometry_figure

        lines = {name: [row.get(name) for row in self.scores] for name in MEASURES}
        controls = {name: [row[name] for row in self.shuffled] for name in SHUFFLED}
        return geometry_figure([site.layer for site in self.sites], lines, controls)


def geometry(
    subject: Subject, pairs: ContrastPairs, *, position: int = -1, batch_size: int = 32, seed: int = 0
) -> GeometryTable:
    """The table of `pairs` after every block of `subject`, at `position` from the end of the prompt.

    Raises CaptureError where a class has fewer than eight prompts, or a layer's points are all the same.
    """
    acts, positive = capture_classes(subject, pairs, position=position, batch_size=batch_size)
    return geometry_of(acts, positive, position=position, seed=seed)


def capture_classes(
    subject: Subject, pairs: ContrastPairs, *, position: int = -1, batch_size: int = 32
) -> tuple[Activations, _Classes]:
    """The stream after every block, and which prompts are positive; they come first."""
    sides = [for_tuning(side, "A table of geometry") for side in (pairs.positive, pairs.negative)]
    prompts = Prompts((*sides[0], *sides[1]), "both classes")
    sites = tuple(Site(layer, "resid_post") for layer in range(subject.n_layers))
    acts = capture(subject, prompts, sites=sites, positions=(position,), batch_size=batch_size)
    return acts, np.arange(len(prompts)) < len(sides[0])


def geometry_of(acts: Activations, positive: _Classes, *, position: int = -1, seed: int = 0) -> GeometryTable:
    """The table of activations that are there already; `positive` says of each example whether it is."""
    check_classes(positive, LEAST)
    draws = np.random.default_rng(seed)
    halves = [_half(positive, draws) for _ in range(_DRAWS)]
    shuffles = [draws.permutation(positive) for _ in range(_DRAWS)]
    before: _Points | None = None
    scores, shuffled = [], []
    for site in track(list(acts.sites), "Measuring the geometry"):
        points = points_at(acts, site, position)
        scores.append(_layer(points, positive, halves, before))
        shuffled.append(_shuffled(points, shuffles))
        before = points
    n = (int(positive.sum()), int((~positive).sum()))
    return GeometryTable(acts.sites, position, tuple(scores), tuple(shuffled), n)


def points_at(acts: Activations, site: Site, position: int) -> _Points:
    """The vectors at a site in float64; CaptureError where they are not finite, or all the same."""
    points = acts.at(site, position).double().numpy()
    broken = int((~np.isfinite(points).all(axis=1)).sum())
    if broken:
        raise CaptureError(f"{broken} of {len(points)} vectors at {site} are not finite; try --dtype float32.")
    if (points == points[0]).all():
        raise CaptureError(
            f"All {len(points)} vectors at {site}, position {position}, are the same, so they have no geometry; "
            "give another position or a later site."
        )
    return points


def check_classes(positive: _Classes, least: int) -> None:
    """Raise CaptureError where there is one class only, or a class is too small."""
    one, other = int(positive.sum()), int((~positive).sum())
    if min(one, other) < least:
        what = "one class only" if min(one, other) == 0 else "too few prompts"
        raise CaptureError(
            f"There are {one} positive and {other} negative prompts, {what}; give at least {least} of either."
        )


def _layer(
    points: _Points, positive: _Classes, halves: Sequence[np.ndarray], before: _Points | None
) -> dict[str, Score]:
    distances = measures.distances_between(points)
    whole = _measured(points, positive, distances, before)
    drawn = [
        _measured(points[rows], positive[rows], distances[np.ix_(rows, rows)], None if before is None else before[rows])
        for rows in halves
    ]
    found = {}
    for name, value in whole.items():
        reach = _Z * float(np.std([one[name] for one in drawn], ddof=1))
        least, most = (-1.0, 1.0) if name in _SIGNED else (0.0, np.inf)
        low, high = max(value - reach, least), min(value + reach, most)
        found[name] = Score(name=name, value=value, low=min(low, value), high=max(high, value), n=len(points))
    return found


def _measured(
    points: _Points, positive: _Classes, distances: Float64[np.ndarray, "n n"], before: _Points | None
) -> dict[str, float]:
    one, other = points[positive].mean(axis=0), points[~positive].mean(axis=0)
    found = {
        "norm of the positive mean": float(np.linalg.norm(one)),
        "norm of the negative mean": float(np.linalg.norm(other)),
        "cosine of the means": measures.cosine(one, other),
        "TwoNN dimension": measures.two_nn(distances),
        "participation ratio": measures.participation_ratio(points),
    } | {name: measure(points, positive, distances) for name, measure in _APART.items()}
    if before is not None:
        earlier = before[positive].mean(axis=0) - before[~positive].mean(axis=0)
        found["cosine with the layer before"] = measures.cosine(one - other, earlier)
    return {name: found[name] for name in MEASURES if name in found}


def _shuffled(points: _Points, shuffles: Sequence[_Classes]) -> dict[str, Score]:
    distances = measures.distances_between(points)
    found = {}
    for name, measure in _APART.items():
        values = [measure(points, labels, distances) for labels in shuffles]
        low, high = (float(end) for end in np.quantile(values, [0.025, 0.975]))
        mean = float(np.mean(values))
        found[name] = Score(name=f"{name}, shuffled", value=mean, low=low, high=high, n=len(points))
    return found


def _gap(points: _Points, positive: _Classes, distances: Float64[np.ndarray, "n n"]) -> float:
    return float(np.linalg.norm(points[positive].mean(axis=0) - points[~positive].mean(axis=0)))


def _median_gap(points: _Points, positive: _Classes, distances: Float64[np.ndarray, "n n"]) -> float:
    medians = [measures.geometric_median(points[rows]) for rows in (positive, ~positive)]
    return float(np.linalg.norm(medians[0] - medians[1]))


_APART: dict[str, Callable[[_Points, _Classes, np.ndarray], float]] = {
    "norm of the difference": _gap,
    "gap of the medians": _median_gap,
    "silhouette": lambda points, positive, distances: measures.silhouette(distances, positive),
    "Fisher ratio": lambda points, positive, distances: measures.fisher_ratio(points, positive),
}


def _half(positive: _Classes, draws: np.random.Generator) -> np.ndarray:
    """Half of either class, in order."""
    sides = [np.flatnonzero(rows) for rows in (positive, ~positive)]
    return np.sort(np.concatenate([draws.permutation(rows)[: len(rows) // 2] for rows in sides]))
