"""The refusal metric on prompts that nothing was chosen on: the same number that the search saw on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from workbench.errors import SearchError
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.evaluation.refusal import metric_of, refusal_tokens
from workbench.interventions import Recipe
from workbench.models import token_rows


@metrics.register("refusal-odds")
@dataclass(frozen=True)
class RefusalOdds(Metric):
    """The log-odds that a reply begins as refusals begin, on harmful and on harmless prompts."""

    asked: tuple[str, ...] = ("harmful", "harmless")

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("harmful_odds", "mean", "neither", "log-odds", "of beginning a refusal, harmful prompts"),
        Measure("harmless_odds", "mean", "neither", "log-odds", "of beginning a refusal, harmless prompts"),
    )

    def missing(self, ground: Ground) -> str:
        try:
            self._tokens(ground)
        except SearchError as error:
            return str(error)
        return ""

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        items = []
        for asked in self.asked:
            prompts = ground.sets[asked]
            rows = ground.subject.batches(token_rows(ground.subject, prompts), ground.batch_size)
            found = metric_of(ground.subject, rows, recipe, self._tokens(ground))
            items += [
                Item(key=f"{asked}/{p.digest}", values={f"{asked}_odds": odds})
                for p, odds in zip(prompts, found, strict=True)
            ]
        return items

    def _tokens(self, ground: Ground) -> tuple[int, ...]:
        if not ground.refusal_tokens:
            found = refusal_tokens(ground.subject, ground.sets["harmful"], None, ground.batch_size)
            ground.refusal_tokens = found.ids
        return ground.refusal_tokens
