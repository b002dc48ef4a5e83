"""The sets that come with the workbench.

`refusal_pairs` holds harmful requests in ten categories, each beside a harmless twin of the same topic and
form, so that a direction between them is about harm and not about subject or style. `looks_harmful` holds
requests that sound harmful and are fine. Requests only; nothing operational is in them. A pair is split as
one, so no topic is in two parts.
"""

import json
from functools import cache
from importlib.resources import files

from workbench.errors import PromptError
from workbench.prompts.prompt import ContrastPairs, Prompt, Prompts
from workbench.prompts.splits import split_rows

NAMES = ("harmful", "harmless", "looks-harmful")
PARTS = ("train", "val", "test")


def builtin_pairs(part: str | None = None) -> ContrastPairs:
    """Harmful requests and their harmless twins: one part of the split, or all."""
    return ContrastPairs(builtin_prompts("harmful", part), builtin_prompts("harmless", part))


def builtin_prompts(name: str, part: str | None = None) -> Prompts:
    """A built-in set by name (harmful, harmless, looks-harmful) and part (train, val, test; None is all)."""
    if name not in NAMES:
        raise PromptError(f"There is no built-in set {name!r}; there are: {', '.join(NAMES)}.")
    if part is not None and part not in PARTS:
        raise PromptError(f"There is no part {part!r} of {name}; there are: {', '.join(PARTS)}.")
    label = f"{name}:{part}" if part else name
    whole = _looks_harmful() if name == "looks-harmful" else _side(name)
    rows = range(len(whole)) if part is None else _rows(name)[part]
    return Prompts(tuple(whole[row] for row in rows), label, locked=part == "test")


@cache
def _lines(file: str) -> tuple[dict[str, str], ...]:
    text = files("workbench.prompts").joinpath("data", file).read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines() if line.strip())


@cache
def _side(name: str) -> tuple[Prompt, ...]:
    rows = _lines("refusal_pairs.jsonl")
    return tuple(Prompt(text=r[name], label=name, category=r["category"], source="built-in") for r in rows)


@cache
def _looks_harmful() -> tuple[Prompt, ...]:
    rows = _lines("looks_harmful.jsonl")
    label = "harmless"
    return tuple(Prompt(text=r["prompt"], label=label, category=r["category"], source="built-in") for r in rows)


@cache
def _rows(name: str) -> dict[str, list[int]]:
    if name == "looks-harmful":
        lines = _lines("looks_harmful.jsonl")
        return split_rows([[r["prompt"]] for r in lines], [r["category"] for r in lines])
    pairs = _lines("refusal_pairs.jsonl")
    return split_rows([[r["harmful"], r["harmless"]] for r in pairs], [r["category"] for r in pairs])
