"""What direct logit attribution found: what each part of the model adds, prompt by prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.display import Shown
from workbench.statistics import Score, gap_interval, mean_score

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20


@dataclass(frozen=True)
class Part:
    """A part of the sum: its kind, and where it stands."""

    kind: str
    layer: int | None = None
    head: int | None = None

    def __str__(self) -> str:
        if self.layer is None:
            return self.kind
        return f"L{self.layer}H{self.head}" if self.head is not None else f"{self.kind} {self.layer}"


@dataclass(frozen=True, eq=False)
class LogitAttribution(Shown):
    """What each part adds, in logits, prompt by prompt; `control` and `control_harmless` are of random tokens.

    Every other prompt ranks the parts, and the prompts between are those that scores are told of.
    """

    parts: tuple[Part, ...]
    harmful: Float[Tensor, "prompt part"]
    harmless: Float[Tensor, "other part"]
    control: Float[Tensor, "prompt part"]
    control_harmless: Float[Tensor, "other part"]
    differences: tuple[Float[Tensor, " prompt"], Float[Tensor, " other"]]

    def __repr__(self) -> str:
        score = mean_score("difference", _second(self.differences[0]).tolist())
        first = self.ranked[0]
        return (
            f"LogitAttribution({len(self.parts)} parts of {score.format('.2f')} logits on {score.n} harmful prompts; "
            f"between harmful and harmless most from {first}: {self.gap(first).format('.2f')})"
        )

    def score(self, part: Part, side: str = "harmful") -> Score:
        """What a part adds on average, on `harmful` or `harmless` prompts."""
        return self._sum([part], side)

    def gap(self, *parts: Part, control: bool = False) -> Score:
        """What parts add together on harmful prompts more than on harmless ones; `control`, to random tokens."""
        sides = ("control_harmless", "control") if control else ("harmless", "harmful")
        one, other = (self._sum(parts, side) for side in sides)
        low, high = gap_interval(one, other)
        name = " + ".join(map(str, parts))
        return Score(name=name, value=other.value - one.value, low=low, high=high, n=min(one.n, other.n))

    def _sum(self, parts: Sequence[Part], side: str) -> Score:
        return mean_score(f"{parts[0]}, {side}", self.values(*parts, side=side))

    def values(self, *parts: Part, side: str = "harmful") -> list[float]:
        """What parts add together, prompt by prompt; `side` may be one of the controls."""
        each = _second(getattr(self, side))[:, [self.parts.index(part) for part in parts]]
        added: list[float] = each.sum(dim=1).tolist()
        return added

    @cached_property
    def ranked(self) -> tuple[Part, ...]:
        """The parts, by how much more or less they add on harmful prompts than on harmless ones."""
        gaps = (self.harmful[::2].mean(dim=0) - self.harmless[::2].mean(dim=0)).abs()
        return tuple(self.parts[int(place)] for place in gaps.argsort(descending=True, stable=True))

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each part."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for part in self.parts:
            row: dict[str, Any] = {"part": str(part), "kind": part.kind, "layer": part.layer, "head": part.head}
            told = {
                "harmful": self.score(part), "harmless": self.score(part, "harmless"), "gap": self.gap(part),
                "control": self.gap(part, control=True),
            }  # fmt: skip
            for name, found in told.items():
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high, f"n_{name}": found.n}
            yield row

    def plot(self) -> Any:
        """Bars of the parts that differ most between the two kinds of prompts, beside the same for random tokens."""
        from workbench.plots.patching import bars_figure

        kept = self.ranked[:_SHOWN]
        series = {
            "refusal against compliance": [self.gap(part) for part in kept],
            "random tokens": [self.gap(part, control=True) for part in kept],
        }
        x = "logits, harmful less harmless prompts"
        return bars_figure([str(part) for part in kept], series, x)

    def plot_heads(self) -> Any:
        """A map of heads and layers: harmful less harmless prompts."""
        from workbench.plots.patching import map_figure

        gaps = (_second(self.harmful).mean(dim=0) - _second(self.harmless).mean(dim=0)).tolist()
        heads = [(part, gap) for part, gap in zip(self.parts, gaps, strict=True) if part.head is not None]
        layers = sorted({part.layer for part, _ in heads if part.layer is not None})
        n = 1 + max((part.head for part, _ in heads if part.head is not None), default=0)
        values = torch.tensor([gap for _, gap in heads]).reshape(len(layers), n).numpy()
        title = "logits, harmful<br>less harmless"
        return map_figure({"heads": values}, list(map(str, range(n))), layers, ("head", "layer", title))


def _second(values: Tensor) -> Tensor:
    """Of the prompts that did not rank."""
    return values[1::2]
