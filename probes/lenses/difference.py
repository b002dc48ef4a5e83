"""What a recipe changes in what each layer means to say: the same lens on the same prompts, under two recipes.

    difference = log-odds under the second - log-odds under the first

The lens was fitted to the model as it is, under either recipe. Over many prompts the change is paired, prompt by
prompt, with its p value after Holm's correction for all sites and sides. A recipe that does nothing differs by 0, bit
for bit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from probes.lenses.curves import NAMES, LensCurves
from probes.lenses.lens import depth
from probes.lenses.maps import LensMap
from workbench.display import Shown
from workbench.errors import LensError
from workbench.models import Site
from workbench.statistics import Difference, Score, holm, paired_difference

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class MapDifference(Shown):
    """Two maps of one prompt. Raises LensError where they are not of the same tokens, sites and groups."""

    before: LensMap
    after: LensMap

    def __post_init__(self) -> None:
        parts = ("method", "model_name", "prompt_digest", "sites", "tokens", "groups")
        _require_same(parts, self.before, self.after)

    def __repr__(self) -> str:
        group = self.before.groups[0]
        change = self.log_odds(group)
        site, token = np.unravel_index(np.abs(change).argmax(), change.shape)
        most = f"{change[site, token]:+.2f} at {self.before.sites[site]} after {self.before.tokens[token]!r}"
        return f"MapDifference({self.before.method} lens of {self.before.model_name}; log-odds of {group}: {most})"

    def log_odds(self, group: str) -> Float64[np.ndarray, "site token"]:
        """How much a group's log-odds change."""
        return self.after.log_odds(group) - self.before.log_odds(group)

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each token, site and group: before, after, and the difference."""
        keys = ["position", "token", "site", "depth", "group"]
        held = ["top", "rank", "probability", "log_odds", "entropy", "kl"]
        before, after = (each.to_pandas()[keys + held] for each in (self.before, self.after))
        found = before.merge(after, on=keys, suffixes=("_before", "_after"))
        return found.assign(difference=found.log_odds_after - found.log_odds_before)

    def plot(self, group: str | None = None) -> Any:
        """The change of a group's log-odds (default: the first) by layer and token, the new top token in the cells."""
        from workbench.plots.lenses import values_map

        name, after = self.before.groups[0] if group is None else group, self.after
        words = [[line[place][0] for line in after.likeliest] for place in range(len(after.sites))]
        title = f"change in<br>log-odds of<br>{name} (nats);<br>in cells: the<br>new top token"
        return values_map(self.log_odds(name), words, after.tokens, [depth(site) for site in after.sites], title)


@dataclass(frozen=True, eq=False)
class CurvesDifference(Shown):
    """Two runs over the same prompts. Raises LensError where they are of others."""

    before: LensCurves
    after: LensCurves

    def __post_init__(self) -> None:
        parts = ("method", "model_name", "position", "sites", "groups", "digests")
        _require_same(parts, self.before, self.after)

    def __repr__(self) -> str:
        side, site = max(self.differences, key=lambda key: abs(self.differences[key].value))
        most = self.differences[side, site]
        ends = "" if most.low is None else f" [{most.low:.2f}, {most.high:.2f}]"
        said = f"{most.value:+.2f}{ends} at {site} of {side}, n={most.n}, p={most.adjusted:.2g} (Holm)"
        return f"CurvesDifference({self.before.method} lens of {self.before.model_name}; {self.group}: {said})"

    @property
    def group(self) -> str:
        """The group that is compared: the first that was followed."""
        return self.before.groups[0]

    @cached_property
    def differences(self) -> Mapping[tuple[str, Site], Difference]:
        """The change in the group's log-odds, by side and site."""
        keys = [(side, site) for side in self.before.sides for site in self.before.sites]
        odds = [[each.values("log_odds", *key) for key in keys] for each in (self.before, self.after)]
        found = [paired_difference(f"{s} at {site}", *both) for (s, site), *both in zip(keys, *odds, strict=True)]
        return dict(zip(keys, holm(found), strict=True))

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each side and site."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for (side, site), found in self.differences.items():
            where = {"side": side, "site": str(site), "depth": depth(site), "group": self.group}
            levels = {
                f"{when}_log_odds": each.score("log_odds", side, site).value
                for when, each in (("before", self.before), ("after", self.after))
            }
            kept = found.model_dump(include={"value", "low", "high", "n", "p_value", "adjusted"})
            yield where | levels | kept | {"says": found.says}

    def plot(self) -> Any:
        """The group's log-odds over the blocks, both sides before and after."""
        from workbench.plots.lenses import layers_figure

        series: dict[str, list[Score]] = {}
        for side in self.before.sides:
            for said, curves in (("before", self.before), ("after", self.after)):
                series[f"{side}, {said}"] = [curves.score("log_odds", side, site) for site in curves.sites]
        depths = [depth(site) for site in self.before.sites]
        return layers_figure(series, depths, f"{NAMES['log_odds']} of {self.group}")


def _require_same(parts: tuple[str, ...], before: object, after: object) -> None:
    other = [name.replace("_", " ") for name in parts if getattr(before, name) != getattr(after, name)]
    if other:
        raise LensError(f"Two readings are compared that differ in {' and '.join(other)}; read the same twice.")
