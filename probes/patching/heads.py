"""Which heads carry refusal: each one ablated by itself, and what that does to the metric.

1. Harmful prompts are dealt into two halves. On the first one every head's output is replaced at the kept tokens, by
   its mean over prompts of both classes at that token or by 0, and heads are ranked by the mean change of the metric.
2. On the second half the first heads of that ranking are ablated again: that is what is reported, with an interval.
3. Beside it, on the same half: the head's output taken from another prompt of the same class at random (which changes
   the prompt and not the class), and as many heads drawn at random from the rest, ablated in the same way.

Heads stand in for each other: one that does nothing alone may matter where another is gone too (Wang et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes.patching.metric import Metric
from probes.patching.pairs import Pairs, Rows
from probes.patching.running import Prepared, activations_of, replacing, require_heads
from probes.patching.shares import halves
from workbench.display import Shown
from workbench.errors import PromptError, UsageError
from workbench.models import Site, Subject
from workbench.runs import track
from workbench.statistics import Score, mean_score

if TYPE_CHECKING:
    import pandas as pd

ABLATIONS = ("mean", "zero")
Place = tuple[int, int]  # layer and head


@dataclass(frozen=True, eq=False)
class HeadAblation(Shown):
    """The change of the metric, in its own units; what is below 0 says that the head made refusal likelier.

    `ranking` is of the first half and chose `chosen`; `effects`, `control` and `random` are of the second half.
    """

    ablation: str
    ranking: Float64[Tensor, "layer head prompt"]
    chosen: tuple[Place, ...]
    effects: Float64[Tensor, "chosen other"]
    control: Float64[Tensor, "chosen other"]
    random: Float64[Tensor, "drawn other"]
    baseline: Float64[Tensor, " other"]

    def __repr__(self) -> str:
        (layer, head), score = self.chosen[0], self.score(self.chosen[0])
        return (
            f"HeadAblation({self.ablation}, {self.ranking.shape[0]} x {self.ranking.shape[1]} heads; first L{layer}H"
            f"{head}: {score.format('.2f')} on {score.n} other prompts, from {float(self.baseline.mean()):.2f})"
        )

    def score(self, place: Place, *, control: bool = False) -> Score:
        """What ablating a chosen head changes on the half that did not choose it; or a random prompt in its place."""
        values = (self.control if control else self.effects)[self.chosen.index(place)]
        return mean_score(f"L{place[0]}H{place[1]}", values.tolist())

    @cached_property
    def random_heads(self) -> Score:
        """What ablating a head drawn at random changes, on the same half: prompts are averaged over heads."""
        return mean_score("random heads", self.random.mean(dim=0).tolist())

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each chosen head, in the order of the first half."""
        import pandas as pd

        rows = []
        for place in self.chosen:
            found, control = self.score(place), self.score(place, control=True)
            chose = mean_score("first half", self.ranking[place].tolist())
            rows.append({
                "layer": place[0], "head": place[1], "effect": found.value, "low": found.low, "high": found.high,
                "n": found.n, "random_prompt": control.value, "random_prompt_low": control.low,
                "random_prompt_high": control.high, "random_heads": self.random_heads.value,
                "when_chosen": chose.value,
            })  # fmt: skip
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """Bars of the chosen heads, on the half that did not choose them."""
        from workbench.plots.patching import bars_figure

        series = {
            f"{self.ablation} ablation": [self.score(place) for place in self.chosen],
            "random prompt of the same class": [self.score(place, control=True) for place in self.chosen],
        }
        labels = [f"L{layer}H{head}" for layer, head in self.chosen]
        return bars_figure(labels, series, "change of the refusal metric")

    def plot_map(self) -> Any:
        """A map of heads and layers, of the half that chose."""
        from workbench.plots.patching import map_figure

        n_layers, n_heads, n = self.ranking.shape
        title = f"change of the<br>refusal metric<br>(n={n}, first half)"
        values = {"heads": self.ranking.mean(dim=-1).numpy()}
        return map_figure(values, list(map(str, range(n_heads))), range(n_layers), ("head", "layer", title))


@dataclass(frozen=True, eq=False)
class AttentionPatterns(Shown):
    """Whom each token reads, in one prompt, by head; rows read columns."""

    tokens: tuple[str, ...]
    heads: tuple[Place, ...]
    patterns: Float[Tensor, "head pos pos"]

    def __repr__(self) -> str:
        return f"AttentionPatterns({len(self.heads)} heads, {len(self.tokens)} tokens)"

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each head, token that reads and token that is read."""
        import pandas as pd

        rows = [
            {"layer": layer, "head": head, "reader": q, "read": k, "token": self.tokens[k], "attention": float(value)}
            for (layer, head), pattern in zip(self.heads, self.patterns, strict=True)
            for q, row in enumerate(pattern)
            for k, value in enumerate(row[: q + 1])
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """A panel for each head, with the tokens as labels."""
        from workbench.plots.patching import pattern_figure

        named = {f"L{layer}H{head}": self.patterns[i].numpy() for i, (layer, head) in enumerate(self.heads)}
        return pattern_figure(self.tokens, named)


def ablate_heads(
    subject: Subject, pairs: Pairs, metric: Metric, *, ablation: str = "mean", top: int = 8,
    batch_size: int = 16, seed: int = 0,
) -> HeadAblation:  # fmt: skip
    """Ablate every head on one half of the harmful prompts, and the `top` ones again on the other half.

    Raises PromptError with fewer than four pairs, ModelError or UsageError where the heads are not apart.
    """
    if ablation not in ABLATIONS:
        raise UsageError(f"Heads are ablated to their mean or to zero, not to {ablation!r}.")
    if len(pairs) < 4:
        raise PromptError(f"Heads are chosen on half of the pairs and reported on half, and there are {len(pairs)}; "
                          "give 4 or more.")  # fmt: skip
    first, second = (tuple(pairs.harmful[i] for i in half) for half in halves(len(pairs)))
    both = (*first, *(pairs.harmless[i] for i in halves(len(pairs))[0]))
    replaced = _replacements(_heads_of(subject, both, pairs.kept, batch_size), ablation)
    every = [(layer, head) for layer, acts in enumerate(replaced) for head in range(acts.shape[2])]
    ranking, _ = _ablated(subject, first, metric, every, replaced, batch_size)
    order = [every[int(i)] for i in ranking.mean(dim=-1).abs().argsort(descending=True, stable=True)]
    chosen, rest = order[:top], order[top:]
    draws = np.random.default_rng(seed)
    drawn = [rest[int(i)] for i in draws.permutation(len(rest))[:top]] or chosen
    effects, baseline = _ablated(subject, second, metric, chosen, replaced, batch_size)
    random, _ = _ablated(subject, second, metric, drawn, replaced, batch_size)
    shift = int(draws.integers(1, len(second)))
    others = _heads_of(subject, (*second[shift:], *second[:shift]), pairs.kept, batch_size)
    control, _ = _ablated(subject, second, metric, chosen, others, batch_size)
    shape = (subject.n_layers, len(every) // subject.n_layers, len(first))
    return HeadAblation(ablation, ranking.reshape(shape), tuple(chosen), effects, control, random, baseline)


def attention_patterns(subject: Subject, row: Sequence[int], heads: Sequence[Place]) -> AttentionPatterns:
    """Whom each token of one prompt reads, in these heads."""
    found: dict[int, Tensor] = {}

    def keeper(layer: int) -> Any:
        def keep(acts: Tensor, hook: object) -> None:
            found[layer] = acts[0].float().cpu().clone()

        return keep

    names = [(f"blocks.{layer}.attn.hook_pattern", keeper(layer)) for layer in sorted({each[0] for each in heads})]
    with subject.lock, subject.bridge.hooks(fwd_hooks=names):
        subject.logits(subject.batch([list(row)]), last=1)
    if len(found) < len(names):
        raise UsageError(f"{subject.name} shows no attention patterns; its attention is computed in one piece.")
    tokens = tuple(subject.tokenizer.decode([token]) for token in row)
    return AttentionPatterns(tokens, tuple(heads), torch.stack([found[layer][head] for layer, head in heads]))


def _sites(subject: Subject) -> list[Site]:
    return [Site(layer, "attn_heads") for layer in range(subject.n_layers)]


def _heads_of(subject: Subject, rows: Rows, kept: int, size: int) -> list[Float[Tensor, "row pos head d_head"]]:
    """Each layer's heads at the kept tokens of every row."""
    sites, parts = _sites(subject), range(0, len(rows), size)
    acts = [activations_of(subject, rows[start : start + size], sites, kept) for start in parts]
    return [torch.cat([require_heads(subject, part[site]) for part in acts]) for site in sites]


def _replacements(
    heads: Sequence[Float[Tensor, "row pos head d_head"]], ablation: str
) -> list[Float[Tensor, "1 pos head d_head"]]:
    """What takes the place of each layer's heads at each kept token: one row for all."""
    means = [each.float().mean(dim=0, keepdim=True) for each in heads]
    return [torch.zeros_like(mean) for mean in means] if ablation == "zero" else means


def _ablated(
    subject: Subject, rows: Rows, metric: Metric, heads: Sequence[Place], replaced: Sequence[Tensor], size: int
) -> tuple[Float64[Tensor, "place prompt"], Float64[Tensor, " prompt"]]:
    """The change of the metric by each head, and the metric as it is without."""
    found = []
    for start in track(range(0, len(rows), size), "Ablating heads"):
        part = slice(start, start + size)
        own = [each if len(each) == 1 else each[part] for each in replaced]
        found.append(_ablated_part(Prepared.of(subject, rows[part], own[0].shape[1]), metric, heads, own))
    changes, plain = zip(*found, strict=True)
    return torch.cat(changes, dim=1), torch.cat(plain)


def _ablated_part(
    runs: Prepared, metric: Metric, heads: Sequence[Place], replaced: Sequence[Tensor]
) -> tuple[Float64[Tensor, "place prompt"], Float64[Tensor, " prompt"]]:
    plain = runs.metric(metric)
    every, found = torch.ones(len(plain), runs.kept, dtype=torch.bool), []
    for layer, head in track(list(heads), "Each head"):
        source = replaced[layer].expand(len(plain), *replaced[layer].shape[1:])
        found.append(runs.metric(metric, [(Site(layer, "attn_heads"), replacing(source, every, head))]) - plain)
    return torch.stack(found), plain
