"""Many prompts under a lens: at which layer two sides part, and from which on the model means to say it.

At the last token of every prompt, for each site: the mean over prompts, with a percentile-bootstrap 95 % interval, of a
group's log-odds and probability, of the entropy, and of the KL to the model's own output. The harmless side is the live
baseline of the harmful one.

    parts from   the first site from which on, to the last, the harmful side lies above the harmless one
    means from   the first site from which on, to the last, the harmful side's log-odds lie above 0

"Lies above" is a 95 % interval that leaves 0 out, asked from the last site down and ended by the first that fails: a
sequence fixed beforehand, which needs no correction for the number of sites (Maurer et al. 1995).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from probes.lenses.lens import Lens, depth
from probes.lenses.readout import Groups, Readout, end_streams, read_out
from workbench.display import Shown
from workbench.errors import LensError, UsageError
from workbench.interventions import Recipe
from workbench.models import Site, Subject
from workbench.prompts import Prompts
from workbench.runs import note
from workbench.statistics import Score, gap_interval, mean_score

if TYPE_CHECKING:
    import pandas as pd

OFF = ("entropy", "kl")  # measures that are of no group
MEASURES = ("log_odds", "probability", *OFF)
NAMES = {
    "log_odds": "log-odds (nats)", "probability": "probability", "entropy": "entropy (nats)",
    "kl": "KL to the model's output (nats)",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class LensCurves(Shown):
    """A `Readout` for each side, whose rows are its prompts at one position. `digests` are those of the prompts."""

    method: str
    model_name: str
    position: int
    sites: tuple[Site, ...]
    groups: tuple[str, ...]
    sides: Mapping[str, Readout]
    digests: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        counts = " and ".join(f"{len(d)} {side}" for side, d in self.digests.items())
        said = f"{self.groups[0]}: {self._told('parts from', self.parts_from())}, "
        said += self._told("means from", self.means_from())
        return f"LensCurves({self.method} lens of {self.model_name}, {counts} prompts; {said})"

    def _told(self, what: str, site: Site | None) -> str:
        return f"{what} nowhere" if site is None else f"{what} {site}"

    def values(self, measure: str, side: str, site: Site, group: str | None = None) -> list[float]:
        """A measure of every prompt of one side; the first group where none is named."""
        if measure not in MEASURES:
            raise UsageError(f"A lens has no measure {measure!r}; it has: {', '.join(MEASURES)}.")
        name = self.groups[0] if group is None else group
        if name not in self.groups or side not in self.sides or site not in self.sites:
            known = f"{', '.join(self.groups)} of {', '.join(self.sides)} at {self.sites[0]} to {self.sites[-1]}"
            raise LensError(f"The lens did not read {name} of {side} at {site}; it read {known}.")
        held = getattr(self.sides[side], measure)[:, self.sites.index(site)]
        found: list[float] = (held if measure in OFF else held[:, self.groups.index(name)]).tolist()
        return found

    def score(self, measure: str, side: str, site: Site, group: str | None = None) -> Score:
        """Its mean over the prompts, with its interval."""
        return mean_score(f"{side}/{measure} at {site}", self.values(measure, side, site, group))

    def gap(self, site: Site, group: str | None = None, measure: str = "log_odds") -> Score:
        """The first side less the second, with its interval."""
        first, second = (self.score(measure, side, site, group) for side in self.sides)
        low, high = gap_interval(second, first)
        n = min(first.n, second.n)
        return Score(name=f"gap of {measure} at {site}", value=first.value - second.value, low=low, high=high, n=n)

    def parts_from(self, group: str | None = None) -> Site | None:
        """The first site from which on, to the end, the first side lies above the second; None where it does not."""
        return self._from([self.gap(site, group) for site in self.sites])

    def means_from(self, group: str | None = None) -> Site | None:
        """The first site from which on, to the end, the first side's log-odds lie above 0."""
        side = next(iter(self.sides))
        return self._from([self.score("log_odds", side, site, group) for site in self.sites])

    def _from(self, scores: Sequence[Score]) -> Site | None:
        found = None
        for site, score in zip(reversed(self.sites), reversed(scores), strict=True):
            if score.low is None or score.low <= 0:
                break
            found = site
        return found

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each side, site, measure and group."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The table's rows, as plain values."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for side in self.sides:
            for site in self.sites:
                for measure in MEASURES:
                    for group in (None,) if measure in OFF else self.groups:
                        score = self.score(measure, side, site, group).model_dump(exclude={"name", "better"})
                        where = {"side": side, "site": str(site), "depth": depth(site), "measure": measure}
                        yield where | {"group": group} | score

    def plot(self, measure: str = "log_odds", group: str | None = None) -> Any:
        """A measure over the blocks, a line for each side; of log-odds, from where the sides part is marked."""
        from workbench.plots.lenses import layers_figure

        name = self.groups[0] if group is None else group
        series = {side: [self.score(measure, side, site, name) for site in self.sites] for side in self.sides}
        title = NAMES[measure] if measure in OFF else f"{NAMES[measure]} of {name}"
        marks = {}
        if measure == "log_odds":
            known = {"sides part": self.parts_from(name), "above 0": self.means_from(name)}
            marks = {said: depth(site) for said, site in known.items() if site is not None}
        return layers_figure(series, [depth(site) for site in self.sites], title, marks=marks)


def lens_curves(
    subject: Subject,
    lens: Lens,
    sides: Mapping[str, Prompts],
    groups: Groups,
    *,
    recipe: Recipe | None = None,
    position: int = -1,
    batch_size: int = 32,
) -> LensCurves:
    """Read one token of many prompts of two sides, such as harmful and harmless ones, under a recipe.

    Prompts that the lens was fitted to are left out; those it was measured on fitted nothing. Raises PromptError where
    a side has fewer than two others, LensError where the lens is of another model.
    """
    read, digests = {}, {}
    for side, given in sides.items():
        prompts = given.without(lens.seen)
        if len(prompts) < len(given):
            left_out = len(given) - len(prompts)
            note(f"{left_out} of {len(given)} {side} prompts are left out: the lens was made from them.")
        prompts = prompts.require(2, "A lens over many prompts")
        streams = end_streams(subject, lens, prompts, (position,), recipe, batch_size)
        read[side] = read_out(subject, lens, streams[:, 0], groups, top=1)
        digests[side] = tuple(prompt.digest for prompt in prompts)
    return LensCurves(lens.method, subject.name, position, lens.sites, tuple(groups), read, digests)
