"""The Alignment Workbench: see what alignment did inside a language model, switch it off and on, and measure it.

    subject = open_model("qwen2.5-coder-0.5b-instruct")
    found = find_direction(subject, builtin_pairs("train"))
    print(generate(subject, "Hello!", Ablate(found.direction).at("all"))[0].text)

Names are loaded when they are first used, so that `import workbench` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.activations import Activations, ActivationStore, capture, capture_moments
    from workbench.directions import Direction, extract_directions
    from workbench.errors import WorkbenchError
    from workbench.evaluation import Evaluation, Outcome, evaluate, record_evaluation
    from workbench.generation import Replies, generate, stream
    from workbench.interventions import (
        Ablate,
        Add,
        Edit,
        Placement,
        Recipe,
        parse_recipe,
        random_control,
        steered,
    )
    from workbench.models import Site, Subject, open_model
    from workbench.prompts import ContrastPairs, Prompt, Prompts, builtin_pairs, load_prompts
    from workbench.search import Found, SearchSettings, find_direction, record_find
    from workbench.statistics import Score

_HOMES = {
    "activations": ("ActivationStore", "Activations", "capture", "capture_moments"),
    "directions": ("Direction", "extract_directions"),
    "errors": ("WorkbenchError",),
    "evaluation": ("Evaluation", "Outcome", "evaluate", "record_evaluation"),
    "generation": ("Replies", "generate", "stream"),
    "interventions": (
        "Ablate",
        "Add",
        "Edit",
        "Placement",
        "Recipe",
        "parse_recipe",
        "random_control",
        "steered",
    ),
    "models": ("Site", "Subject", "open_model"),
    "prompts": ("ContrastPairs", "Prompt", "Prompts", "builtin_pairs", "load_prompts"),
    "search": ("Found", "SearchSettings", "find_direction", "record_find"),
    "statistics": ("Score",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Ablate", "ActivationStore", "Activations", "Add", "ContrastPairs", "Direction", "Edit", "Evaluation", "Found",
    "Outcome", "Placement", "Prompt", "Prompts", "Recipe", "Replies", "Score", "SearchSettings",
    "Site", "Subject", "WorkbenchError", "builtin_pairs", "capture", "capture_moments", "evaluate",
    "extract_directions", "find_direction", "generate", "load_prompts", "open_model", "parse_recipe", "random_control",
    "record_evaluation", "record_find", "steered", "stream",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"workbench.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    """What can be done: a tab after `workbench.` lists these."""
    return sorted(__all__)
