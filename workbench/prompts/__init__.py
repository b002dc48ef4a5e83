"""What is said: prompts and conversations, built-in and public sets, files, splits without leakage."""

from workbench.prompts.builtin import builtin_pairs, builtin_prompts
from workbench.prompts.loading import load_prompts
from workbench.prompts.locks import for_tuning
from workbench.prompts.prompt import ContrastPairs, Prompt, Prompts
from workbench.prompts.splits import split, split_rows

__all__ = [
    "ContrastPairs",
    "Prompt",
    "Prompts",
    "builtin_pairs",
    "builtin_prompts",
    "for_tuning",
    "load_prompts",
    "split",
    "split_rows",
]
