"""Is what knows of harm the same line as what refuses? After Zhao et al. 2025 (arXiv:2507.11878).

1. The stream after every block, at the last token of the instruction (where harm is said to be read) and at the last
   token of the template behind it (where refusal is).
2. A prompt is harmful or harmless by its label; it was refused or accepted by the model's own reply.
3. At either position the plain cases, refused harmful and accepted harmless ones, give two means, their difference is
   the direction of that position: `harm` and `refusal`.
4. A prompt leans by cos(h, mean of refused harmful) - cos(h, mean of accepted harmless). Accepted harmful and refused
   harmless prompts, which gave no mean, tell what a position holds: where harm is read, accepted harmful ones lean to
   the harmful side; where refusal is read, refused harmless ones do. Plain cases lean by means of the other half.

5. As a latent guard the same leaning says harmful wherever it is above 0. Its layer is the one that tells plain cases
   apart best; what it says of the others, which chose and fitted nothing, is what it is worth.

The control deals out which plain case is which. Directions are of all plain cases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from workbench.activations import Activations, capture
from workbench.activations.capturing import post_instruction_positions
from workbench.directions import Direction
from workbench.display import Shown
from workbench.errors import CaptureError
from workbench.evaluation.judges.phrase import refuses
from workbench.generation import generate
from workbench.models import Site, Subject
from workbench.prompts import Prompts, for_tuning
from workbench.statistics import Score, mean_score, rate_score

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("refused harmful", "accepted harmful", "refused harmless", "accepted harmless")
INSTRUCTION, TEMPLATE = "last token of the instruction", "last token of the template"
_WHAT = "The directions of harm and of refusal"
_LEAST = 4  # plain cases of a kind, for two halves of two


@dataclass(frozen=True, eq=False)
class HarmAndRefusal(Shown):
    """Both directions of every layer, and how each prompt leans there.

    `leanings` are by position (instruction, template), layer and prompt; `dealt` the same where the plain cases were
    dealt out; `group` is each prompt's number in `GROUPS`.
    """

    harm: tuple[Direction, ...]
    refusal: tuple[Direction, ...]
    leanings: Float[Tensor, "2 layer prompt"]
    dealt: Float[Tensor, "2 layer prompt"]
    group: np.ndarray

    def __repr__(self) -> str:
        counts = ", ".join(f"{int((self.group == i).sum())} {name}" for i, name in enumerate(GROUPS))
        return f"HarmAndRefusal({len(self.harm)} layers; {counts})"

    @cached_property
    def cosines(self) -> tuple[float, ...]:
        """The cosine of the two directions, layer by layer."""
        return tuple(float(one.unit @ other.unit) for one, other in zip(self.harm, self.refusal, strict=True))

    def leaning(self, group: str, position: str, layer: int, *, dealt: bool = False) -> Score:
        """How much a group's prompts lean to the harmful side: above 0, nearer to it."""
        return mean_score(f"{group}, {position}", self.values(group, position, layer, dealt=dealt))

    def values(self, group: str, position: str, layer: int, *, dealt: bool = False) -> list[float]:
        """The same, prompt by prompt."""
        every = (self.dealt if dealt else self.leanings)[(INSTRUCTION, TEMPLATE).index(position), layer]
        mine: list[float] = every[torch.from_numpy(self.group == GROUPS.index(group))].tolist()
        return mine

    def flagged(self, group: str, position: str, layer: int) -> Score:
        """The share of a group's prompts that a latent guard calls harmful: nearer the harmful mean."""
        mine = self.values(group, position, layer)
        return rate_score(f"{group} flagged, {position}", sum(each > 0 for each in mine), len(mine))

    def guard_layer(self, position: str) -> int:
        """The layer at which the guard is right about most of the plain cases, either kind counted alike."""
        kinds = (("refused harmful", 1), ("accepted harmless", -1))
        right = [
            sum(sign * self.flagged(group, position, layer).value for group, sign in kinds)
            for layer in range(len(self.harm))
        ]
        return int(np.argmax(right))

    @property
    def present(self) -> tuple[str, ...]:
        """The groups that have prompts."""
        return tuple(name for number, name in enumerate(GROUPS) if (self.group == number).any())

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each layer, position and group, with its control and the layer's cosine."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for layer, cosine in enumerate(self.cosines):
            for position in (INSTRUCTION, TEMPLATE):
                for group in self.present:
                    found = self.leaning(group, position, layer)
                    control = self.leaning(group, position, layer, dealt=True)
                    flagged = self.flagged(group, position, layer)
                    yield {
                        "layer": layer, "position": position, "group": group, "leaning": found.value,
                        "low": found.low, "high": found.high, "n": found.n, "dealt": control.value, "cosine": cosine,
                        "flagged": flagged.value, "flagged_low": flagged.low, "flagged_high": flagged.high,
                    }  # fmt: skip

    def plot(self) -> Any:
        """The groups' leanings by layer, at either position, and the cosine of the two directions."""
        from workbench.plots.harm import leanings_figure

        series = {
            position: {
                group: [self.leaning(group, position, layer) for layer in range(len(self.harm))]
                for group in self.present
            }
            for position in (INSTRUCTION, TEMPLATE)
        }
        return leanings_figure(series, self.cosines)


def harm_and_refusal(
    subject: Subject,
    harmful: Prompts,
    harmless: Prompts,
    *,
    refused: Sequence[bool] | None = None,
    max_new_tokens: int = 24,
    seed: int = 0,
) -> HarmAndRefusal:
    """Find both directions, and how all prompts lean.

    `refused` says of each prompt, harmful ones first, whether the model refuses it; unless given, the model replies and
    the phrase judge says it. Raises CaptureError where there are fewer than four plain cases of a kind.
    """
    prompts = Prompts((*for_tuning(harmful, _WHAT), *for_tuning(harmless, _WHAT)), "harmful and harmless")
    said = refused if refused is not None else refusals(subject, prompts, max_new_tokens)
    no, bad = np.array(said, dtype=bool), np.arange(len(prompts)) < len(harmful)
    group = np.select([no & bad, ~no & bad, no & ~bad], [0, 1, 2], default=3)
    plain = [np.flatnonzero(group == number) for number in (0, 3)]
    if min(map(len, plain)) < _LEAST:
        raise CaptureError(
            f"{subject.name} refuses {len(plain[0])} of the harmful and accepts {len(plain[1])} of the harmless "
            f"prompts; {_LEAST} of either are needed: give more prompts, or plainer ones."
        )
    sites = tuple(Site(layer, "resid_post") for layer in range(subject.n_layers))
    places = (post_instruction_positions(subject, prompts)[0] - 1, -1)
    acts = capture(subject, prompts, sites=sites, positions=places)
    harm, refusal = (_directions(acts, subject, prompts, plain, place) for place in places)
    draws = np.random.default_rng(seed)
    mixed = draws.permutation(np.concatenate(plain))
    dealt = [np.sort(part) for part in np.split(mixed, [len(plain[0])])]
    values = acts.values.transpose(0, 1).transpose(1, 2)  # position site example d_model
    return HarmAndRefusal(
        harm, refusal, _leanings(values, plain, draws), _leanings(values, dealt, draws), group
    )  # fmt: skip


def refusals(subject: Subject, prompts: Prompts, max_new_tokens: int = 24) -> list[bool]:
    """Which prompts the model refuses, as the phrase judge reads its greedy replies."""
    return [refuses(reply.text) for reply in generate(subject, prompts, max_new_tokens=max_new_tokens)]


def _directions(
    acts: Activations, subject: Subject, prompts: Prompts, plain: Sequence[np.ndarray], place: int
) -> tuple[Direction, ...]:
    seen = frozenset(prompts[int(row)].digest for rows in plain for row in rows)
    found = []
    for site in acts.sites:
        means = [acts.at(site, place)[torch.from_numpy(rows)].mean(dim=0) for rows in plain]
        made = Direction.from_raw(
            means[0] - means[1], means[1], site=site, position=place, method="difference-in-means",
            model_name=subject.name, model_digest=subject.digest, seen=seen,
        )  # fmt: skip
        found.append(made)
    return tuple(found)


def _leanings(
    values: Float[Tensor, "2 layer prompt d_model"], plain: Sequence[np.ndarray], draws: np.random.Generator
) -> Float[Tensor, "2 layer prompt"]:
    """Each prompt's leaning; a plain case by the means of the half that it is not in."""
    halves = np.zeros(values.shape[2], dtype=int)
    for rows in plain:
        halves[draws.permutation(rows)[: len(rows) // 2]] = 1
    each = [_by_means(values, [rows[halves[rows] == half] for rows in plain]) for half in (0, 1)]
    mixed = torch.from_numpy(np.isin(np.arange(len(halves)), np.concatenate(plain)))
    second = torch.from_numpy(halves == 1)
    apart = torch.where(second, each[0], each[1])
    return torch.where(mixed, apart, (each[0] + each[1]) / 2)


def _by_means(
    values: Float[Tensor, "2 layer prompt d_model"], plain: Sequence[np.ndarray]
) -> Float[Tensor, "2 layer prompt"]:
    near, far = (values[:, :, torch.from_numpy(rows)].mean(dim=2, keepdim=True) for rows in plain)
    return cosine_similarity(values, near, dim=-1) - cosine_similarity(values, far, dim=-1)
