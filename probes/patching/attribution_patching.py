"""Attribution patching: the first order of activation patching, for every head and MLP in two passes and a gradient.

    effect of a place  ~  (activation of the other run - own activation) . d metric / d activation, in the own run

(Nanda 2023; Syed et al. 2023), by `transformer_lens.tools.analysis.attribution_patch`, which takes pairs of the same
length without padding; each pair is read by itself, so that there are intervals. Attention is the sum of its heads. It
is wrong where the model bends between the two runs, as in saturated attention and at the final norm, and so it never
stands alone: it is told beside exact patching of the same places, with the rank correlation of the two. The control is
its rank correlation with exact patching from a prompt of the same class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import spearmanr
from torch import Tensor
from transformer_lens.tools.analysis import attribution_patch

from probes.patching.activation_patching import patch_activations
from probes.patching.metric import Metric
from probes.patching.pairs import HARMFUL, Pairs
from probes.patching.patched import ActivationPatching
from probes.patching.shares import Shares, shares
from workbench.display import Shown
from workbench.errors import ModelError, UsageError
from workbench.models import Site, Subject
from workbench.runs import track
from workbench.statistics import Score

if TYPE_CHECKING:
    import pandas as pd

WRITERS = ("attn_out", "mlp_out")
_RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class AttributionPatching(Shown):
    """First-order effects at the kept tokens, and exact ones of the same places and pairs."""

    exact: ActivationPatching
    effects: Float64[Tensor, "stream layer place pair"]
    heads: Float64[Tensor, "layer head pair"]

    def __repr__(self) -> str:
        return (
            f"AttributionPatching(into {self.exact.into}, {len(self.exact.gaps)} pairs; rank correlation with exact "
            f"patching {self.agreement.format('.2f')}, with its control {self.control.format('.2f')})"
        )

    @cached_property
    def shares(self) -> Shares:
        """First-order effects as shares of the difference of the two runs."""
        return shares(self.effects, self.exact.gaps)

    @cached_property
    def head_shares(self) -> Shares:
        """The same of each head, over the kept tokens."""
        return shares(self.heads, self.exact.gaps)

    @cached_property
    def agreement(self) -> Score:
        """Spearman's correlation over places with exact patching; the interval resamples pairs."""
        return _correlation("with exact patching", self.effects, self._exactly(self.exact.effects))

    @cached_property
    def control(self) -> Score:
        """The same with exact patching from a prompt of the same class."""
        return _correlation("with patching from the same class", self.effects, self._exactly(self.exact.control))

    def _exactly(self, effects: Tensor) -> Tensor:
        rows = [self.exact.streams.index(stream) for stream in WRITERS]
        return effects[rows][:, :, : self.effects.shape[2]]

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each place: the first-order share, and the exact one."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for s, stream in enumerate(WRITERS):
            for i, layer in enumerate(self.exact.layers):
                for p, place in enumerate(self.exact.places[: self.effects.shape[2]]):
                    first, exact = self.shares.score("", (s, i, p)), self.exact.share(stream, layer, place)
                    yield {
                        "into": self.exact.into, "stream": stream, "layer": layer, "place": place, "n": first.n,
                        "first_order": first.value, "first_order_low": first.low, "first_order_high": first.high,
                        "exact": exact.value, "exact_low": exact.low, "exact_high": exact.high,
                    }  # fmt: skip

    def plot(self) -> Any:
        """Maps of layers and places, first order beside exact."""
        from workbench.plots.patching import map_figure

        width = self.effects.shape[2]
        panels = {}
        for s, (stream, name) in enumerate(zip(WRITERS, ("attention", "MLP"), strict=True)):
            panels[f"{name}, first order"] = self.shares.value[s]
            panels[f"{name}, exact"] = self.exact.shares.value[self.exact.streams.index(stream), :, :width]
        title = f"share restored<br>(n={len(self.exact.gaps)} pairs)"
        return map_figure(panels, self.exact.places[:width], self.exact.layers, ("token, from the end", "layer", title))


def patch_first_order(
    subject: Subject,
    pairs: Pairs,
    metric: Metric,
    *,
    into: str = HARMFUL,
    exact: ActivationPatching | None = None,
) -> AttributionPatching:
    """First-order patching of every layer, beside `exact` patching of the same pairs (made here unless given).

    Raises PromptError where two prompts of a pair differ in length, UsageError where `exact` is of something else,
    ModelError where the architecture's heads or MLPs have no gradient to read.
    """
    pairs.require_same_length("Attribution patching")
    _require_heads_apart(subject)
    beside = exact or patch_activations(subject, pairs, metric, into=into, streams=WRITERS)
    _require_beside(subject, beside, pairs, into)
    own, other = pairs.side(into), pairs.side(beside.source)
    found = [
        _first_order(subject, one, two, metric, pairs.kept)
        for one, two in track(list(zip(own, other, strict=True)), "First-order patching")
    ]
    heads, mlps = (torch.stack([each[i] for each in found], dim=-1) for i in (0, 1))
    effects = torch.stack([heads.sum(dim=1), mlps])
    return AttributionPatching(beside, effects, heads.sum(dim=2))


def _require_heads_apart(subject: Subject) -> None:
    for layer in range(subject.n_layers):
        Site(layer, "attn_heads").hook_point(subject.bridge)


def _require_beside(subject: Subject, exact: ActivationPatching, pairs: Pairs, into: str) -> None:
    same = exact.into == into and len(exact.gaps) == len(pairs) and exact.places[:-1] == pairs.labels
    if not same or not set(WRITERS) <= set(exact.streams) or exact.layers != tuple(range(subject.n_layers)):
        raise UsageError(
            f"First-order patching is compared with exact patching of {', '.join(WRITERS)} in all layers, of the same "
            f"pairs and into the same runs; got {exact!r}."
        )


def _first_order(
    subject: Subject, own: tuple[int, ...], other: tuple[int, ...], metric: Metric, kept: int
) -> tuple[Float64[Tensor, "layer head place"], Float64[Tensor, "layer place"]]:
    """Effects of one pair at its `kept` last tokens."""
    ids = [torch.tensor([row], device=subject.device) for row in (other, own)]
    with subject.lock:
        try:
            scores = attribution_patch(subject.bridge, *ids, _scalar(metric)).node_scores
        except ValueError as error:
            raise ModelError(f"{subject.name} cannot be patched to first order ({error}); patch it exactly.") from error
    first = len(own) - kept
    n_heads = 1 + max(node.head for node in scores if node.head is not None)
    heads = torch.zeros(subject.n_layers, n_heads, kept, dtype=torch.float64)
    mlps = torch.zeros(subject.n_layers, kept, dtype=torch.float64)
    for node, score in scores.items():
        if node.position < first or node.kind == "embed":
            continue
        if node.kind == "mlp_out":
            mlps[node.layer, node.position - first] = score
        else:
            heads[node.layer, node.head, node.position - first] = score
    return heads, mlps


def _scalar(metric: Metric) -> Callable[[Tensor], Tensor]:
    return lambda logits: metric(logits[:, -1])[0]


def _correlation(name: str, one: Tensor, other: Tensor, seed: int = 0) -> Score:
    """Spearman's correlation of two maps' means over pairs, with a bootstrap interval over pairs."""
    left, right = one.flatten(0, -2).numpy(), other.flatten(0, -2).numpy()
    n = left.shape[1]
    drawn = np.random.default_rng(seed).integers(0, n, size=(_RESAMPLES, n))
    spread = [_ranked_alike(left[:, rows].mean(axis=1), right[:, rows].mean(axis=1)) for rows in drawn]
    value = _ranked_alike(left.mean(axis=1), right.mean(axis=1))
    low, high = np.quantile(spread, [0.025, 0.975])
    return Score(name=name, value=value, low=float(low), high=float(high), n=n)


def _ranked_alike(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of them is the same everywhere, which orders nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
