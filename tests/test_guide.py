"""What the guide to methods of one's own prints is an edit, an extractor and a metric that the laws hold for."""

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.directions.test_extractors import are_as_long_as_the_gap
from tests.laws import suite
from tests.laws.cases import SCOPES, a_recipe
from workbench.directions.extraction import extractors
from workbench.evaluation import Ground
from workbench.evaluation.metrics import metrics
from workbench.interventions import Recipe
from workbench.interventions.edit import edits
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.registry import Registry

GUIDE = Path(__file__).parents[1] / "docs" / "pages" / "guides" / "extending.md"
EDIT, EXTRACTOR, METRIC = "soft-threshold", "difference-in-medians", "reply-length"
NEW: dict[str, Registry] = {EDIT: edits, EXTRACTOR: extractors, METRIC: metrics}  # type: ignore[type-arg]


@pytest.fixture(autouse=True)
def extended() -> Iterator[None]:
    """Each Python block of the guide, as a file of its own; nothing of it stays registered."""
    for registry in NEW.values():
        list(registry)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == len(NEW)
    names = [f"guide_{number}" for number in range(len(blocks))]
    try:
        for name, block in zip(names, blocks, strict=True):
            sys.modules[name] = module = ModuleType(name)
            exec(compile(block, name, "exec"), module.__dict__)
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        for name, registry in NEW.items():
            registry._entries.pop(name, None)


def test_the_edit_is_under_the_laws(llama: Subject) -> None:
    suite.no_op(llama, EDIT)
    suite.changes(llama, EDIT)
    suite.clean(llama, EDIT)
    suite.fired(llama, EDIT)
    suite.repeats(llama, EDIT)
    suite.strengths(llama, EDIT)


@pytest.mark.parametrize("scope", SCOPES[:4])
def test_the_edit_is_the_same_cached_batched_and_streamed(llama: Subject, scope: str) -> None:
    make = partial(a_recipe, EDIT, llama, scope)
    suite.cache(llama, make)
    suite.batch(llama, make)
    suite.streams(llama, make)
    suite.rows(llama, make, changed=scope in ("all", "prompt"))


def test_the_extractor_recovers_what_was_planted() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
    noise = torch.randn(800, 64, generator=generator)
    found = extractors[EXTRACTOR](noise[:400] + 4 * truth, noise[400:])
    assert float(torch.nn.functional.normalize(found.float(), dim=0) @ truth) > 0.95
    are_as_long_as_the_gap(EXTRACTOR)


def test_the_metric_gives_the_same_values_twice(long_llama: Subject) -> None:
    ground = Ground(long_llama, {"harmless": Prompts.of(["Sing.", "Why is the sky blue?"])})
    metric = metrics[METRIC](tokens=4)  # type: ignore[call-arg]
    once, twice = (metric.observe(ground, Recipe()) for _ in "ab")
    assert list(once) == list(twice)
    assert all(item.values["characters"] for item in once)
