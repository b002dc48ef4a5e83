from typing import Any

from tests.experiments.small import Bench
from workbench.evaluation.refusal import RefusalTokens
from workbench.models import Subject, token_rows
from workbench.prompts import Prompts
from workbench.studies.minimise import lessons


def settings(bench: Bench) -> dict[str, Any]:
    bench.patch.setattr(lessons, "refusal_tokens", commonest)
    few = {"taught_steps": 2, "n_harmless": 4, "n_looks_harmful": 2, "n_search": 6, "n_search_val": 4, "n_minimise": 6}
    sizes = few | {"n_minimise_val": 3, "minimise_steps": 2, "n_test": 3, "max_new_tokens": 3}
    # A Qwen, for the first tokens of its refusals are known from its architecture, whatever its folder is called.
    return sizes | {"model": str(bench.folders["qwen2"]), "defences": ["adversarial"]}


def commonest(subject: Subject, harmful: Prompts, batch_size: int) -> RefusalTokens:
    """A tiny model refuses nothing: its commonest first tokens stand for refusals."""
    logits = lessons.last_logits(subject, token_rows(subject, harmful), batch_size)
    first = logits.mean(dim=0).topk(100).indices.tolist()
    return RefusalTokens(tuple(first), ("x",) * len(first), "planted")
