"""Screen by gradient, then race: exact scores for the few that could still win, on as many prompts as it takes.

1. Estimate every candidate to first order (`screening`).
2. Measure a shortlist exactly on a few prompts: the best by estimated bypass, the best of those that may pass the
   rule, and two from the middle of the field, which calibrate the estimates.
3. Choose among the measured. A measured rival stays in the race while its interval leaves it a way to win; a
   candidate that was not measured enters it while its calibrated estimate does. Winner and rivals get twice the
   prompts, newcomers the first few.
4. Stop when the winner is measured on all prompts and nobody else could win.

Successive halving (Jamieson and Talwalkar 2016) with intervals in the place of a fixed schedule. Candidates at late
layers are never measured: the rule drops them unseen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.runs import note
from workbench.search.choosing import Row, choose, last_layer, relaxed_choice
from workbench.search.scoring import Ledger, Place
from workbench.search.screening import Estimate, first_order
from workbench.search.settings import SearchSettings
from workbench.search.strategies import Searched, strategies

FIRST = 8  # prompts of each side in the first round, and in the screen
SHORTLIST = 6  # best by estimated bypass
HOPEFUL = 3  # best of those that may pass the rule
STEP = 4  # newcomers in a round
SIGMAS = 2.0  # how far from its estimate a score may be


@strategies.register("screened")
def screened(ledger: Ledger, n_layers: int, settings: SearchSettings) -> Searched:
    """The candidates that could win, measured; the others estimated."""
    estimates = first_order(ledger.scorer, ledger.candidates, FIRST)
    too_late = last_layer(n_layers, settings.drop_last)
    race = Race(ledger, {p: e for p, e in estimates.items() if p[1].layer < too_late}, n_layers, settings)
    race.run()
    note(f"Measured {len(race.measured)} of {len(estimates)} candidates.")
    report = {
        "search": "screened",
        "candidates": len(estimates),
        "measured": len(race.measured),
        "sure": race.sure,
        "estimates": [
            {"position": position, "layer": site.layer, "bypass": guess.bypass, "induce": guess.induce}
            for (position, site), guess in estimates.items()
        ],
    }
    rows = [race.rows()[place] for place in ledger.candidates if place in race.measured]
    return Searched(rows, report)


@dataclass(frozen=True)
class Fit:
    """A straight line from estimates to exact scores, and how far the scores lie from it."""

    intercept: float
    slope: float
    spread: float

    @classmethod
    def of(cls, guesses: Sequence[float], exact: Sequence[float]) -> "Fit":
        x, y = np.asarray(guesses), np.asarray(exact)
        finite = np.isfinite(x) & np.isfinite(y)
        x, y = x[finite], y[finite]
        if len(x) < 3 or np.ptp(x) == 0:
            return cls(0.0, 1.0, float("inf"))
        slope = max(0.0, float(np.polyfit(x, y, 1)[0]))
        intercept = float(y.mean() - slope * x.mean())
        residual = y - intercept - slope * x
        return cls(intercept, slope, float(np.sqrt((residual**2).sum() / (len(x) - 2))))

    def low(self, guess: float) -> float:
        return self.intercept + self.slope * guess - SIGMAS * self.spread

    def high(self, guess: float) -> float:
        return self.intercept + self.slope * guess + SIGMAS * self.spread


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
        gaps = [self._gaps(winner, place) for place in rivals]
        generator = np.random.default_rng(self.settings.seed)
        ahead = np.ones(1000, dtype=bool)
        for gap in gaps:
            drawn = generator.integers(0, len(gap), size=(len(ahead), len(gap)))
            ahead &= gap[drawn].mean(axis=1) >= 0
        return float(ahead.mean())

    def _shortlist(self) -> list[Place]:
        by_bypass = sorted(self.estimates, key=lambda place: self.estimates[place].bypass)
        hopeful = [p for p in by_bypass if self.estimates[p].induce >= self.settings.induce_min]
        if not hopeful:
            hopeful = sorted(self.estimates, key=lambda place: -self.estimates[place].induce)
        middle = [by_bypass[int(share * (len(by_bypass) - 1))] for share in (0.4, 0.7)] if by_bypass else []
        return list(dict.fromkeys([*by_bypass[:SHORTLIST], *hopeful[:HOPEFUL], *middle]))

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
                may_lead = gap.mean() - SIGMAS * gap.std() / np.sqrt(len(gap)) <= 0
                may_pass = self._may_pass(row)
                if (may_lead and may_pass) if passing else (may_lead or may_pass):
                    found.append(place)
        return found

    def _may_pass(self, row: Row) -> bool:
        bounds: Mapping[str, Any] = row["intervals"]
        least_kl, most_induce = bounds["kl_div_score"][0], bounds["steering_score"][1]
        return least_kl <= self.settings.kl_max and most_induce >= self.settings.induce_min

    def _gaps(self, winner: Place, place: Place) -> Float[np.ndarray, " prompt"]:
        """By how much the winner's metric is below the other's, on each prompt that both were measured on."""
        ours, theirs = (self.ledger.measure(p, "refusal_score", self.measured[p]) for p in (winner, place))
        return np.array([theirs[i] - ours[i] for i in sorted(ours.keys() & theirs.keys())])

    def _newcomers(self, winner: Place | None) -> list[Place]:
        """Candidates that were not measured and whose calibrated estimates leave them a way to win, the best first."""
        rows = self.rows()
        guesses = [self.estimates[place] for place in rows]
        bypass = Fit.of([g.bypass for g in guesses], [row["refusal_score"] for row in rows.values()])
        induce = Fit.of([g.induce for g in guesses], [row["steering_score"] for row in rows.values()])
        best = rows[winner]["refusal_score"] if winner is not None else np.inf
        passing = winner is not None and self._choose([rows[winner]]) is not None
        found = []
        for place in self.estimates.keys() - rows.keys():
            may_lead = bypass.low(self.estimates[place].bypass) <= best
            may_pass = induce.high(self.estimates[place].induce) >= self.settings.induce_min
            if (may_lead and may_pass) if passing else (may_lead or may_pass):
                found.append(place)
        return sorted(found, key=lambda place: (self.estimates[place].bypass, place[0] or 0, place[1]))
