"""What a recipe was chosen by: it travels with the recipe, so that nothing is reported on what it was tuned on."""

from pydantic import BaseModel, ConfigDict

from workbench.statistics import Score


class Tuned(BaseModel):
    """The digests of the prompts that it was chosen by, the scores that it had on them, and what chose.

    A recipe that is changed keeps the prompts; the scores were another's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    prompts: tuple[str, ...]
    scores: tuple[Score, ...] = ()

    def with_prompts(self, prompts: frozenset[str]) -> "Tuned":
        """The same, of these prompts too."""
        return self.model_copy(update={"prompts": tuple(sorted(prompts.union(self.prompts)))})

    def of_another(self) -> "Tuned":
        """The same of another recipe that was made from this one."""
        return self.model_copy(update={"scores": ()})
