"""The edited model as lm-eval sees one. Imported only where lm-eval is installed (the extra `eval`).

It is a TemplateLM and not an HFLM: that one ties weights again and sets the tokeniser's padding, and the live model is
not to be touched. Its tokens are those of HFLM. A request's context is the prompt and its continuation the reply, so
that every scope of a recipe means here what it means everywhere.
"""
# mypy: disable-error-code="import-untyped,import-not-found"

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval import evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager

from workbench.errors import PromptError, UsageError
from workbench.evaluation.continuations import Reading, read_continuations
from workbench.interventions import Recipe
from workbench.models import Subject

Request = tuple[tuple[str, str], list[int], list[int]]  # the texts, and the tokens of context and continuation


class EditedModel(TemplateLM):
    """A subject under a recipe; a context that is too long loses its beginning, as in HFLM."""

    def __init__(self, subject: Subject, recipe: Recipe, batch_size: int) -> None:
        super().__init__()
        self.subject, self.recipe, self.size = subject, recipe, batch_size

    @property
    def eot_token_id(self) -> int:
        return int(self.subject.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        beginning = self.subject.tokenizer.bos_token_id
        return self.eot_token_id if beginning is None else int(beginning)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        tokenizer = self.subject.tokenizer
        begun = string.startswith(tokenizer.decode(self.prefix_token_id))
        special = not begun if add_special_tokens is None else add_special_tokens
        return list(tokenizer.encode(string, add_special_tokens=special))

    def _loglikelihood_tokens(self, requests: Sequence[Request], **options: Any) -> list[tuple[float, bool]]:
        asked: dict[tuple[int, ...], list[int]] = {}
        for index, (_, context, continuation) in enumerate(requests):
            room = self.subject.context_length + 1 - len(continuation)  # the last token is not read
            asked.setdefault(tuple(context[-room:] if room > 0 else context), []).append(index)
        questions = [(context, [requests[index][2] for index in mine]) for context, mine in asked.items()]
        read = read_continuations(self.subject, self.recipe, questions, self.size)
        found: dict[int, Reading] = {}
        for mine, readings in zip(asked.values(), read, strict=True):
            found.update(zip(mine, readings, strict=True))
        return [(sum(found[index].logprobs), found[index].greedy) for index in range(len(requests))]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise UsageError("Only tasks with given answers are measured here; choose a multiple-choice task.")

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise UsageError("Only tasks with given answers are measured here; choose a multiple-choice task.")


def load(names: Sequence[str], folder: Path | None) -> dict[str, Any]:
    """Tasks, groups or tags by name, with their data.

    Raises UsageError where lm-eval knows no such task, PromptError where data cannot be had.
    """
    manager = _manager(names, folder)
    if unknown := [name for name in names if name not in manager.all_tasks]:
        raise UsageError(f"lm-eval has no task {', '.join(unknown)}; `lm-eval ls tasks` lists them.")
    try:
        loaded: dict[str, Any] = dict(manager.load(list(names)))
    except (OSError, ValueError, LookupError, RuntimeError, ImportError) as error:
        raise PromptError(
            f"The data of {', '.join(names)} could not be had ({type(error).__name__}: {error}); go online "
            "once, or name a folder with tasks of your own."
        ) from error
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def _manager(names: Sequence[str], folder: Path | None) -> TaskManager:
    """What knows the tasks; lm-eval's own thousands are looked through, for seconds, only where they are asked for."""
    if folder is not None:
        own = TaskManager(include_path=str(folder), include_defaults=False)
        if set(names) <= set(own.all_subtasks):
            return own
    return TaskManager(include_path=None if folder is None else str(folder))


def run(
    subject: Subject, recipe: Recipe, loaded: Mapping[str, Any], limit: int | None, batch_size: int
) -> dict[str, list[dict[str, Any]]]:
    """Each task's samples, as lm-eval logs them."""
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # else each run would draw the next examples
    lm = EditedModel(subject, recipe, batch_size)
    result = evaluate(lm, dict(loaded), limit=limit, bootstrap_iters=0)
    samples: dict[str, list[dict[str, Any]]] = result["samples"]
    return samples
