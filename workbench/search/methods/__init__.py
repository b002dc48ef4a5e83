"""One file, one way to make candidates by running the model. Extractors, which need activations alone, join them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workbench.activations import ActivationStore, capture
from workbench.directions import extract_directions
from workbench.directions.extraction import extractors
from workbench.errors import UsageError
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs
from workbench.registry import Registry
from workbench.runs import RunFolder
from workbench.search.scoring import Candidates
from workbench.search.settings import SearchSettings


@dataclass(frozen=True)
class Task:
    """What candidates are made from: train prompts alone, so that validation prompts judge them fairly."""

    subject: Subject
    train: ContrastPairs
    tokens: tuple[int, ...]  # that refusals begin with
    settings: SearchSettings
    store: ActivationStore | None = None
    folder: RunFolder | None = None

    @property
    def sites(self) -> list[Site]:
        """The block inputs that are searched."""
        layers = self.settings.layers if self.settings.layers is not None else range(self.subject.n_layers)
        if not layers:
            raise UsageError("There are no layers to search; give at least one.")
        return [Site(layer, "resid_pre") for layer in layers]

    def extracted(self, extractor: str, pairs: ContrastPairs | None = None, **options: object) -> Candidates:
        """A direction at every place from the activations of the train prompts, or of other pairs."""
        chosen = pairs or self.train
        shared = {"sites": self.sites, "batch_size": self.settings.batch_size, "store": self.store}
        how: Mapping[str, object] = {"positions": self.settings.positions} | shared | options
        positive, negative = (capture(self.subject, side, **how) for side in (chosen.positive, chosen.negative))  # type: ignore[arg-type]
        return extract_directions(self.subject, positive, negative, extractor)


@runtime_checkable
class Method(Protocol):
    """Makes candidate directions by running the model on the train prompts."""

    def __call__(self, task: Task) -> Candidates: ...


methods: Registry[Method] = Registry("method", "workbench.search.methods", "workbench.methods")


def require_method(name: str) -> None:
    """UsageError where neither a method nor an extractor is called that."""
    if name not in methods and name not in extractors:
        raise UsageError(f"There is no method called {name!r}; there are: {', '.join([*extractors, *methods])}.")


def make_candidates(task: Task) -> Candidates:
    """The candidates of the method, or the extractor, that the settings name."""
    name = task.settings.method
    require_method(name)
    return methods[name](task) if name in methods else task.extracted(name)
