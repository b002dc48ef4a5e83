"""The paper's search: every candidate on every validation prompt. The oracle of the others."""

from workbench.runs import track
from workbench.search.scoring import Ledger
from workbench.search.settings import SearchSettings
from workbench.search.strategies import Searched, strategies


@strategies.register("exhaustive")
def exhaustive(ledger: Ledger, n_layers: int, settings: SearchSettings) -> Searched:
    """Three passes over all validation prompts for each candidate (Arditi et al. 2024)."""
    rows = [ledger.row(place, ledger.most) for place in track(list(ledger.candidates), "Scoring candidates")]
    return Searched(rows, {"search": "exhaustive", "candidates": len(rows), "measured": len(rows)})
