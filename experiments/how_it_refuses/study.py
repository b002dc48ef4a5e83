"""What every part is asked of, and what it hands back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from experiments.experiment import Harmful, Harmless, OneModel
from workbench.evaluation.refusal import RefusalTokens, refusal_tokens
from workbench.models import Subject
from workbench.plots import Figure
from workbench.prompts import ContrastPairs, Prompts
from workbench.studies.parts import Valued


class Settings(OneModel):
    """Prompts to learn from, prompts to report on, and how many of each kind a part takes."""

    harmful: Harmful
    harmless: Harmless
    test_harmful: Harmful
    test_harmless: Harmless
    n_probed: int
    n_leaning: int
    n_parts: int
    n_patched: int
    n_heads: int


@dataclass(frozen=True)
class Study:
    """The settings with their model, prompts to learn from, and prompts to report on."""

    settings: Settings
    train: ContrastPairs
    test: ContrastPairs

    @classmethod
    def of(cls, settings: Settings, prompts: Mapping[str, Prompts]) -> "Study":
        sides = (ContrastPairs(prompts[f"{part}harmful"], prompts[f"{part}harmless"]) for part in ("", "test_"))
        return cls(settings, *sides)

    @property
    def subject(self) -> Subject:
        return self.settings.subject

    @cached_property
    def refusal(self) -> RefusalTokens:
        return refusal_tokens(self.subject, self.train.positive)

    def drawn(self, n: int) -> ContrastPairs:
        """At most n prompts of each side to learn from."""
        return ContrastPairs(self.train.positive.sample(n, 0), self.train.negative.sample(n, 0))


class Part(NamedTuple):
    """What was found, in sentences; its figures, the values that scores come from, and numbers of other kinds."""

    says: list[str]
    figures: list[Figure]
    values: list[Valued]
    numbers: dict[str, Any]

    @property
    def row(self) -> dict[str, Any]:
        """As plain values."""
        kept = {
            "figures": [each.to_json() for each in self.figures],
            "values": [each.model_dump() for each in self.values],
        }
        return {"says": self.says, "numbers": self.numbers} | kept


def means(values: Mapping[str, Sequence[float]]) -> list[Valued]:
    """Values of which the mean is told."""
    return [Valued(name=name, kind="mean", values=tuple(each)) for name, each in values.items()]
