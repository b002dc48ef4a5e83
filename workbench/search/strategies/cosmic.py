"""COSMIC: choose by where the activations go, without a look at what the model would say (Siu et al. 2025).

    score(d) = cos(harmful with d ablated, harmless) + cos(harmless with d added, harmful)

each side being the mean activation of its last prompt token, over the tenth of the layers at whose output the two
sides are least alike. The highest score wins below the late layers.

The candidates are halved: all of them are scored on a few prompts, the better half on twice as many, until the last
are scored on all. The rule of the paper has no say; what it thinks of the winner is measured and reported.
"""

from collections.abc import Callable, Sequence
from math import ceil, isnan

import torch
from einops import rearrange
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn.functional import cosine_similarity

from workbench.errors import SearchError
from workbench.interventions import Ablate, Add, Recipe, steered
from workbench.models import Site, current_layout
from workbench.runs import track
from workbench.search.choosing import last_layer
from workbench.search.scoring import Ledger, Place, Scorer
from workbench.search.settings import SearchSettings
from workbench.search.strategies import Searched, strategies

JOURNAL = "cosmic.jsonl"
FIRST = 8  # prompts of each side on which all candidates are scored
SHARE = 0.1  # of the layers, by how little the two sides are alike


class Inverted(BaseModel):
    """How well one candidate turns each side into the other, on the first prompts of each."""

    model_config = ConfigDict(extra="forbid")

    position: int | None
    layer: int
    prompts: int
    score: float


@strategies.register("cosmic")
def cosmic(ledger: Ledger, n_layers: int, settings: SearchSettings) -> Searched:
    """The candidate that best turns harmful activations into harmless ones, and back."""
    places = [place for place in ledger.candidates if place[1].layer < last_layer(n_layers, settings.drop_last)]
    if not places:
        raise SearchError("Every candidate is at a late layer, which COSMIC leaves out; search earlier layers.")
    judge = _Judge(ledger)
    n, scores = FIRST, dict.fromkeys(places, 0.0)
    while True:
        scores = {place: judge.score(place, n) for place in track(list(scores), f"COSMIC on {n} prompts")}
        if n >= ledger.most:
            break
        scores, n = _best(scores, ceil(len(scores) / 2)), 2 * n
    finalists = _best(scores, len(scores))
    winner = next(iter(finalists))
    report = {
        "search": "cosmic",
        "candidates": len(ledger.candidates),
        "measured": 1,
        "layers_compared": [site.layer for site in judge.sites],
        "finalists": [{"position": p, "layer": s.layer, "score": score} for (p, s), score in finalists.items()],
    }
    return Searched([ledger.row(winner, ledger.most)], report)


class _Judge:
    """Scores candidates, and remembers the scores in the run's journal."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.scorer = ledger, ledger.scorer
        every = [Site(layer, "resid_post") for layer in range(self.scorer.subject.n_layers)]
        harmful, harmless = (_mean(self.scorer, side, every, Recipe()) for side in self._sides(ledger.most))
        alike = cosine_similarity(harmful, harmless, dim=-1)
        chosen = alike.argsort()[: max(1, round(SHARE * len(every)))].sort().values.tolist()
        self.sites = [every[index] for index in chosen]
        self.harmful, self.harmless = harmful[chosen].flatten(), harmless[chosen].flatten()
        made = ledger.folder.journal(JOURNAL, Inverted) if ledger.folder else []
        self.known = {(row.position, row.layer, row.prompts): row.score for row in made}

    def score(self, place: Place, n: int) -> float:
        key = (place[0], place[1].layer, n)
        if key not in self.known:
            self.known[key] = self._measured(place, n)
            if self.ledger.folder is not None:
                row = Inverted(position=key[0], layer=key[1], prompts=n, score=self.known[key])
                self.ledger.folder.log(JOURNAL, row.model_dump(mode="json"))
        return self.known[key]

    def _measured(self, place: Place, n: int) -> float:
        direction = self.ledger.candidates[place]
        harmful, harmless = self._sides(n)
        tamed = _mean(self.scorer, harmful, self.sites, Ablate(direction).at("all")).flatten()
        roused = _mean(self.scorer, harmless, self.sites, Add(direction).at(direction.site)).flatten()
        return float(cosine_similarity(tamed, self.harmless, dim=0) + cosine_similarity(roused, self.harmful, dim=0))

    def _sides(self, n: int) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
        return self.scorer.harmful[:n], self.scorer.harmless[:n]


def _mean(
    scorer: Scorer, rows: Sequence[Sequence[int]], sites: Sequence[Site], recipe: Recipe
) -> Float[Tensor, "site d_model"]:
    """The mean activation at the last token of each row, under a recipe."""
    total = {site: torch.zeros(scorer.subject.d_model, dtype=torch.float64) for site in sites}

    def adder(site: Site) -> Callable[..., None]:
        def add(acts: Tensor, hook: object) -> None:
            layout = current_layout()
            # What all rows begin with is read in a pass of its own, which ends before the last token.
            if layout is None or bool((layout.position[:, -1] == layout.prompt_lengths - 1).all()):
                total[site] += rearrange(acts[:, -1], "batch ... -> batch (...)").double().sum(dim=0).cpu()

        return add

    batches = [batch for _, batch in scorer.subject.batches(rows, scorer.batch_size)]
    with steered(scorer.subject, recipe), scorer.subject.hooked([(site, adder(site)) for site in sites]):
        scorer.subject.last_logits(batches)
    return torch.stack([total[site] for site in sites]) / len(rows)


def _best(scores: dict[Place, float], n: int) -> dict[Place, float]:
    """The `n` highest, the highest first; what is not a number comes last."""
    ordered = sorted(scores.items(), key=lambda item: -9.0 if isnan(item[1]) else item[1], reverse=True)
    return dict(ordered[:n])
