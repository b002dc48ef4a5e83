"""Screen by gradient, then race: exact scores for the few that could still win, on as many prompts as it takes.

1. Estimate every candidate to first order (`screening`).
2. Measure a shortlist exactly on a few prompts: the best by estimated bypass, overall and in each band of layers, for
   the estimates of early layers are too modest; and the best of those that may pass the rule.
3. Choose among the measured. A measured rival stays in the race while its interval leaves it a way to win; a
   candidate that was not measured enters it while what was measured near it does (`surrogate`). Winner and rivals get
   twice the prompts, newcomers the first few.
4. Stop when the winner is measured on all prompts and nobody else could win.

Successive halving (Jamieson and Talwalkar 2016) with intervals in the place of a fixed schedule. Candidates at late
layers are never measured: the rule drops them unseen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import log
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.runs import note
from workbench.search.choosing import BROKEN, Row, choose, last_layer, relaxed_choice
from workbench.search.scoring import Ledger, Place
from workbench.search.screening import Estimate, screen
from workbench.search.settings import SearchSettings
from workbench.search.strategies import Searched, strategies
from workbench.search.surrogate import Surrogate

FIRST = 8  # prompts of each side in the first round, and in the screen
SHORTLIST = 3  # best by estimated bypass
BANDS = 6  # of layers, the best of each of which is measured
HOPEFUL = 3  # best of those that may pass the rule
STEP = 4  # newcomers in a round
SIGMAS = 2.0  # how far a measured rival's lead may be from what was measured
_MEASURED = {"bypass": "refusal_score", "induce": "steering_score", "divergence": "kl_div_score"}
_LEAST_KL = 1e-9


@strategies.register("screened")
def screened(ledger: Ledger, n_layers: int, settings: SearchSettings) -> Searched:
    """The candidates that could win, measured; the others estimated."""
    estimates = screen(ledger.scorer, ledger.candidates, FIRST)
    too_late = last_layer(n_layers, settings.drop_last)
    race = Race(ledger, {p: e for p, e in estimates.items() if p[1].layer < too_late}, n_layers, settings)
    race.run()
    note(f"Measured {len(race.measured)} of {len(estimates)} candidates.")
    report = {
        "search": "screened",
        "candidates": len(estimates),
        "measured": len(race.measured),
        "sure": race.sure,
        "screened_on": [min(FIRST, len(side)) for side in (ledger.scorer.harmful, ledger.scorer.harmless)],
        "estimates": [
            {"position": position, "layer": site.layer, **asdict(guess)}
            for (position, site), guess in estimates.items()
        ],
    }
    rows = [race.rows()[place] for place in ledger.candidates if place in race.measured]
    return Searched(rows, report)


class Race:
    """Who is measured on how many prompts, and who could still win."""

    def __init__(
        self, ledger: Ledger, estimates: Mapping[Place, Estimate], n_layers: int, settings: SearchSettings
    ) -> None:
        self.ledger, self.estimates, self.n_layers, self.settings = ledger, estimates, n_layers, settings
        self.measured: dict[Place, int] = {}

    def run(self) -> None:
        """Measure until nobody but the winner could win."""
        for place in self._shortlist():
            self._raise(place, FIRST)
        while self.measured:
            winner = self.winner()
            if winner is None:
                behind, newcomers = [], self._newcomers(None)
            else:
                behind = [p for p in self._contenders(winner) if self.measured[p] < self.ledger.most]
                newcomers = self._newcomers(winner)
            if not behind and not newcomers:
                return
            for place in newcomers[:STEP]:
                self._raise(place, FIRST)
            for place in behind:
                self._raise(place, 2 * self.measured[place])

    def rows(self) -> dict[Place, Row]:
        return {place: self.ledger.row(place, n) for place, n in self.measured.items()}

    def winner(self) -> Place | None:
        """The place that the rule chooses among the measured, or the relaxed rule; None where neither does."""
        rows = self.rows()
        chosen = self._choose(list(rows.values())) or relaxed_choice(
            list(rows.values()), self.n_layers, self.settings.drop_last
        )
        return next((place for place, row in rows.items() if row is chosen), None)

    @property
    def sure(self) -> float:
        """In how many resamples of the prompts the winner has the smallest bypass of its contenders."""
        winner = self.winner()
        if winner is None:
            return 0.0
        rivals = [place for place in self._contenders(winner) if place != winner]
        if not rivals:
            return 1.0
        n = min(self.measured[place] for place in [winner, *rivals])
        gaps = np.array([self._gaps(winner, place)[:n] for place in rivals])
        # The same resample for all: prompts on which one rival is far behind are those on which others are.
        drawn = np.random.default_rng(self.settings.seed).integers(0, gaps.shape[1], size=(1000, gaps.shape[1]))
        return float((gaps[:, drawn].mean(axis=2) >= 0).all(axis=0).mean())

    def _shortlist(self) -> list[Place]:
        guesses = self.estimates
        whole = [place for place in guesses if guesses[place].divergence <= BROKEN] or list(guesses)
        by_bypass = sorted(whole, key=lambda place: guesses[place].bypass)
        hopeful = [p for p in by_bypass if self._promises(guesses[p])]
        if not hopeful:
            hopeful = sorted(whole, key=lambda place: -guesses[place].induce)
        bands = np.array_split(sorted({site.layer for _, site in whole}), BANDS)
        firsts = [next(p for p in by_bypass if p[1].layer in band) for band in bands if len(band)]
        return list(dict.fromkeys([*by_bypass[:SHORTLIST], *firsts, *hopeful[:HOPEFUL]]))

    def _promises(self, guess: Estimate) -> bool:
        return guess.induce >= self.settings.induce_min and guess.divergence <= self.settings.kl_max

    def _raise(self, place: Place, n: int) -> None:
        self.measured[place] = min(n, self.ledger.most)
        self.ledger.row(place, self.measured[place])

    def _choose(self, rows: Sequence[Row]) -> Row | None:
        chosen = self.settings
        return choose(
            rows, self.n_layers, kl_max=chosen.kl_max, induce_min=chosen.induce_min, drop_last=chosen.drop_last
        ).winner

    def _contenders(self, winner: Place) -> list[Place]:
        """The winner, and every measured candidate whose intervals leave it a way to win."""
        rows = self.rows()
        passing = self._choose([rows[winner]]) is not None
        found = [winner]
        for place, row in rows.items():
            if place != winner and not any(np.isnan(row[name]) for name in row["intervals"]):
                gap = self._gaps(winner, place)
                ahead = gap.mean() - SIGMAS * gap.std() / np.sqrt(len(gap)) <= 0
                may_lead = self._may_lead(rows[winner], bool(ahead), row["intervals"]["kl_div_score"][0])
                may_pass = self._may_pass(row)
                if (ahead and may_pass) if passing else (may_lead or may_pass):
                    found.append(place)
        return found

    def _may_lead(self, winner: Row | None, ahead: bool, least_kl: float) -> bool:
        """Whether a candidate may win outside the rule: by its bypass, or by not breaking what the winner breaks."""
        whole = least_kl <= BROKEN
        broken = winner is None or winner["kl_div_score"] > BROKEN
        return (whole or ahead) if broken else (whole and ahead)

    def _may_pass(self, row: Row) -> bool:
        bounds: Mapping[str, Any] = row["intervals"]
        least_kl, most_induce = bounds["kl_div_score"][0], bounds["steering_score"][1]
        return least_kl <= self.settings.kl_max and most_induce >= self.settings.induce_min

    def _gaps(self, winner: Place, place: Place) -> Float[np.ndarray, " prompt"]:
        """By how much the winner's metric is below the other's, on each prompt that both were measured on."""
        ours, theirs = (self.ledger.measure(p, "refusal_score", self.measured[p]) for p in (winner, place))
        return np.array([theirs[i] - ours[i] for i in sorted(ours.keys() & theirs.keys())])

    def _newcomers(self, winner: Place | None) -> list[Place]:
        """Candidates that were not measured and could win by what was measured near them, the best first."""
        rows = self.rows()
        bypass, induce, divergence = (self._surrogate(name) for name in ("bypass", "induce", "divergence"))
        best = np.inf if winner is None else self._at_first(winner, "refusal_score")
        passing = winner is not None and self._choose([rows[winner]]) is not None
        found = []
        for place in self.estimates.keys() - rows.keys():
            ahead = bypass.bounds(place)[0] <= best
            least_kl = float(np.exp(divergence.bounds(place)[0]))
            may_lead = self._may_lead(rows[winner] if winner is not None else None, ahead, least_kl)
            may_pass = induce.bounds(place)[1] >= self.settings.induce_min and least_kl <= self.settings.kl_max
            if (ahead and may_pass) if passing else (may_lead or may_pass):
                found.append(place)
        return sorted(found, key=lambda place: (bypass.bounds(place)[0], place[0] or 0, place[1]))

    def _surrogate(self, name: str) -> Surrogate:
        """What was measured of one score, and what that says of the candidates that were not; KL by its logarithm."""
        guesses = {place: getattr(guess, name) for place, guess in self.estimates.items()}
        exact = {place: self._at_first(place, _MEASURED[name]) for place in self.measured}
        if name == "divergence":
            guesses, exact = ({p: log(max(v, _LEAST_KL)) for p, v in held.items()} for held in (guesses, exact))
        return Surrogate(guesses, exact)

    def _at_first(self, place: Place, score: str) -> float:
        """The mean on the prompts that every measured candidate was measured on."""
        known = self.ledger.measure(place, score, self.measured[place])
        return float(np.mean([value for prompt, value in known.items() if prompt < FIRST]))
