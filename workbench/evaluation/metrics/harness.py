"""Any multiple-choice task of EleutherAI's lm-evaluation-harness, on the live, edited model.

The harness makes the questions and the metrics; the model that it asks is the one in memory, under the recipe. It
needs the extra `eval`. A task's data comes from the hub, through `datasets`, or from where its own file says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from workbench.errors import PromptError, UsageError
from workbench.evaluation.metrics import Ground, Item, Measure, Metric, metrics
from workbench.interventions import Recipe
from workbench.runs import digest_file

MEASURED = ("acc", "acc_norm")
_ASKED = ("loglikelihood", "multiple_choice")  # what a task may want of the model


@metrics.register("harness")
@dataclass(frozen=True)
class Harness(Metric):
    """lm-eval's `tasks` by name, the first `limit` documents of each (0 is all); `folder` holds tasks of one's own."""

    tasks: tuple[str, ...] = ()
    limit: int = 40
    folder: Path | None = None

    # A mean and not a rate, as some tasks (truthfulqa_mc2) give shares of a document.
    measures: ClassVar[tuple[Measure, ...]] = ()

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise UsageError(f"The harness is asked a number of documents, or 0 for all, not {self.limit}.")

    def measured(self) -> Sequence[Measure]:
        """Of every task, its own: tasks are not averaged."""
        says = {"acc": "by total log-likelihood", "acc_norm": "by log-likelihood a character"}
        return [
            Measure(f"{task} {name}", "mean", "higher", "share", f"accuracy {how} (lm-eval)")
            for task in self.tasks
            for name, how in says.items()
        ]

    @property
    def identity(self) -> dict[str, Any]:
        own = sorted(self.folder.rglob("*.yaml")) if self.folder is not None else []
        files = {file.name: digest_file(file)[:16] for file in own}
        using = version("lm-eval") if find_spec("lm_eval") else "not installed"
        return super().identity | {"tasks": list(self.tasks), "limit": self.limit, "own": files, "lm-eval": using}

    def missing(self, ground: Ground) -> str:
        if not self.tasks:
            return "No task of lm-eval was named."
        if find_spec("lm_eval") is None:
            return "lm-eval is not installed; pip install alignment-workbench[eval]."
        try:
            self._loaded(ground)
        except PromptError as error:
            return str(error)
        return ""

    def observe(self, ground: Ground, recipe: Recipe) -> Sequence[Item]:
        from workbench.evaluation.harnessed import run

        samples = run(ground.subject, recipe, self._loaded(ground), self.limit or None, ground.batch_size)
        return [_item(task, sample) for task in sorted(samples) for sample in _of_one_filter(samples[task])]

    def _loaded(self, ground: Ground) -> dict[str, Any]:
        """The tasks with their data: read once, and kept."""
        from workbench.evaluation.harnessed import load

        key = f"harness/{self.folder}/{self.tasks}"
        if key not in ground.memo:
            ground.memo[key] = load(self.tasks, self.folder)
        loaded: dict[str, Any] = ground.memo[key]
        for name, task in loaded["tasks"].items():
            if task.OUTPUT_TYPE not in _ASKED:
                raise UsageError(
                    f"The task {name} of lm-eval wants {task.OUTPUT_TYPE}, and only tasks with given answers are "
                    "measured here; choose a multiple-choice task."
                )
        return loaded


def _of_one_filter(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each document once: a task with several filters gives it once for each."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _item(task: str, sample: dict[str, Any]) -> Item:
    values = {f"{task} {name}": float(sample[name]) if name in sample else None for name in MEASURED}
    return Item(key=f"{task}/{sample['doc_id']}/{sample['doc_hash'][:8]}", values=values)
