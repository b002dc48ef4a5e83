"""The settings of experiments on concepts: the set that they are of, and a bottleneck that was trained on it."""

from functools import cached_property
from pathlib import Path

from experiments.experiment import OneModel
from workbench.concepts import Bottleneck, ConceptSet, builtin_concepts, load_concepts
from workbench.errors import UsageError
from workbench.runs import RunFolder

BUILT_IN = "built-in"


class OfConcepts(OneModel):
    """The settings of one on a set of concepts: the built-in one, or a folder or file as `concepts train` takes it."""

    concepts: str

    @cached_property
    def concept_set(self) -> ConceptSet:
        return builtin_concepts() if self.concepts == BUILT_IN else load_concepts(Path(self.concepts))

    def digests(self) -> dict[str, str]:
        return {"concepts": self.concept_set.digest}


class OfBottleneck(OfConcepts):
    """The settings of one on a bottleneck: a run of `concepts train` on these concepts."""

    bottleneck: Path

    @cached_property
    def made(self) -> Bottleneck:
        """The bottleneck. Raises UsageError where it was trained on other texts, DirectionError on another model."""
        if RunFolder.open(self.bottleneck).manifest.data.get("concepts") != self.concept_set.digest:
            raise UsageError(
                f"{self.bottleneck} was not trained on the concepts {self.concepts}; give those that it was trained on "
                "with --set concepts=PATH, or train it again."
            )
        made = Bottleneck.load(self.bottleneck)
        made.check_fits(self.subject)
        return made

    def digests(self) -> dict[str, str]:
        return super().digests() | {"bottleneck": self.made.digest}
