"""Public benchmark sets by name, through Hugging Face `datasets`. Nothing of them is shipped."""

from dataclasses import dataclass
from typing import Any

from workbench.errors import PromptError
from workbench.prompts.prompt import Prompt, Prompts


@dataclass(frozen=True)
class PublicSet:
    """Where a set lives and which columns hold what. `keep` filters rows by column value."""

    repository: str
    split: str
    prompt: str
    label: str
    category: str | None = None
    config: str | None = None
    keep: tuple[str, str] | None = None


PUBLIC = {
    "advbench": PublicSet("walledai/AdvBench", "train", "prompt", "harmful"),
    "jailbreakbench": PublicSet(
        "JailbreakBench/JBB-Behaviors", "harmful", "Goal", "harmful", "Category", config="behaviors"
    ),
    "jailbreakbench-benign": PublicSet(
        "JailbreakBench/JBB-Behaviors", "benign", "Goal", "harmless", "Category", config="behaviors"
    ),
    "harmbench": PublicSet("walledai/HarmBench", "train", "prompt", "harmful", "category", config="standard"),
    "strongreject": PublicSet("walledai/StrongREJECT", "train", "prompt", "harmful", "category"),
    "xstest": PublicSet("walledai/XSTest", "test", "prompt", "harmless", "type", keep=("label", "safe")),
    "alpaca": PublicSet("tatsu-lab/alpaca", "train", "instruction", "harmless", keep=("input", "")),
}


def load_public(name: str) -> Prompts:
    """Download (once; `datasets` caches it) and read a public set."""
    wanted = PUBLIC[name]
    rows = _rows(name, wanted)
    kept = [row for row in rows if wanted.keep is None or row[wanted.keep[0]] == wanted.keep[1]]
    prompts = tuple(
        Prompt(
            text=str(row[wanted.prompt]),
            label=wanted.label,
            category=str(row[wanted.category]) if wanted.category else None,
            source=wanted.repository,
        )
        for row in kept
    )
    return Prompts(prompts, name)


def _rows(name: str, wanted: PublicSet) -> list[dict[str, Any]]:
    import datasets

    try:
        loaded = datasets.load_dataset(wanted.repository, wanted.config, split=wanted.split)
    except (OSError, ValueError, RuntimeError) as error:
        raise PromptError(
            f"The public set {name} ({wanted.repository}) could not be had ({type(error).__name__}); it needs the "
            "network once, and some need a hub login. Or give a file with a 'prompt' column."
        ) from error
    columns = {wanted.prompt, *([wanted.category] if wanted.category else [])}
    if missing := columns - set(loaded.column_names):
        raise PromptError(f"{wanted.repository} no longer has the columns {', '.join(sorted(missing))}; give a file.")
    return list(loaded)
