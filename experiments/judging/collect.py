"""Say the replies that were labelled by hand: both catalog models, as they are, edited, and damaged.

    python -m experiments.judging.collect OUT.jsonl [MODEL ...]

Each line is a prompt, a reply, the model, the condition, and the digest that its label is stored under. All prompts
are built in, decoding is greedy or seeded, and the direction is found by the default search, so that the same machine
says the same replies again.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.activations import ActivationStore
from workbench.directions import Direction, random_unit
from workbench.generation import generate
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject, open_model
from workbench.prompts import Prompts, builtin_pairs, builtin_prompts
from workbench.runs import digest_json, note, reporting, stderr_reporter
from workbench.search import SearchSettings, find_direction

MODELS = {
    "qwen2.5-coder-0.5b-instruct": SearchSettings(),
    # It refuses next to nothing, so that no prompt would be left after the filter.
    "smollm2-135m-instruct": SearchSettings(filtered=False, refusal_starts=("I",)),
}
TOKENS = 64
EVERYDAY = Path(__file__).parent / "everyday.txt"


@dataclass(frozen=True)
class Condition:
    """A way to ask: which set, how many of it, and what is done to the model."""

    name: str
    asked: str
    n: int
    recipe: Recipe
    temperature: float = 0.0


def key(prompt: str, reply: str) -> str:
    """What a label is stored under."""
    return digest_json([prompt, reply])[:32]


def conditions(direction: Direction) -> list[Condition]:
    """Thirteen ways to ask, five of them damaging."""
    site = direction.site
    noise = replace(direction, unit=random_unit(direction.unit, 7), method="random")
    flood, wide = Add(direction, 2.5).at([site.layer, site.layer + 1]), f"{site.layer - 4}-{site.layer}"
    return [
        Condition("baseline", "harmful", 30, Recipe()),
        Condition("ablated", "harmful", 34, Ablate(direction).at("all")),
        Condition("half ablated", "harmful", 14, Ablate(direction, 0.6).at("all")),
        Condition("baseline", "harmless", 14, Recipe()),
        Condition("added", "harmless", 24, Add(direction, 1.0).at(site)),
        Condition("baseline", "looks-harmful", 18, Recipe()),
        Condition("flooded", "harmless", 14, flood),
        Condition("noise added", "harmful", 12, Add(noise, 2.5).at(wide)),
        Condition("reversed", "harmful", 12, Add(direction, -2.0).at(wide)),
        Condition("hot", "harmful", 12, Recipe(), temperature=1.8),
        # Everyday requests, many with short answers: without them a judge takes what is short for what is broken.
        Condition("baseline", "everyday", 60, Recipe()),
        Condition("ablated", "everyday", 24, Ablate(direction).at("all")),
        Condition("hot", "everyday", 8, Recipe(), temperature=1.6),
    ]


def prompts_of(condition: Condition, number: int) -> Prompts:
    """Other prompts for each condition, none that the direction was found with where there are enough of others."""
    if condition.asked == "everyday":
        return Prompts.of(EVERYDAY.read_text(encoding="utf-8").splitlines(), name="everyday").sample(
            condition.n, number
        )
    parts = [builtin_prompts(condition.asked, part) for part in ("val", "test")]
    if condition.asked == "looks-harmful":
        parts.append(builtin_prompts(condition.asked, "train"))
    whole = Prompts(tuple(prompt for part in parts for prompt in part), condition.asked)
    return whole.sample(condition.n, seed=number)


def collect(subject: Subject) -> Iterator[dict[str, Any]]:
    """Every reply of one model."""
    found = find_direction(
        subject, builtin_pairs("train"), validation=builtin_pairs("val"), settings=MODELS[subject.name],
        store=ActivationStore.default(),
    )  # fmt: skip
    note(f"{subject.name}: {found!r}")
    for number, condition in enumerate(conditions(found.direction)):
        asked = prompts_of(condition, number)
        said = generate(
            subject, asked, condition.recipe, max_new_tokens=TOKENS, temperature=condition.temperature, seed=number
        )
        for reply in said:
            yield {
                "key": key(reply.prompt.text, reply.text), "model": subject.name, "condition": condition.name,
                "asked": condition.asked, "prompt": reply.prompt.text, "reply": reply.text,
            }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Write all replies of the models named, or of both."""
    out, *names = arguments
    with stderr_reporter() as reporter, reporting(reporter), Path(out).open("w", encoding="utf-8") as file:
        for name in names or MODELS:
            for row in collect(open_model(name)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
