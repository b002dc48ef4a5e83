"""One file, one way to spend the model's passes on the candidates."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from workbench.registry import Registry
from workbench.search.choosing import Row
from workbench.search.scoring import Ledger
from workbench.search.settings import SearchSettings


@dataclass(frozen=True)
class Searched:
    """The rows that the choice is made among, and how they were come by."""

    rows: list[Row]
    report: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Strategy(Protocol):
    """Measures as many candidates, on as many prompts, as the choice needs."""

    def __call__(self, ledger: Ledger, n_layers: int, settings: SearchSettings) -> Searched: ...


strategies: Registry[Strategy] = Registry("search", "workbench.search.strategies", "workbench.searches")
