"""Reading exports again without the workbench, and what they should say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS
from workbench.errors import ModelError
from workbench.interventions import Ablate, LinearMap, Recipe, steered
from workbench.models import Subject, token_rows
from workbench.weights import Export, Orthogonalise, WeightEdit
from workbench.weights.certificates import fresh, reloading

CLOSE = 1e-4  # between float32 logits


def ablated(subject: Subject) -> Recipe:
    """Nothing can represent the direction."""
    return Ablate(random_direction(subject)).at("all")


def halved(subject: Subject) -> Recipe:
    """Half of it is left, wherever a layer writes."""
    return Ablate(random_direction(subject), strength=0.5).at(["attn_out", "mlp_out"])


RECIPES = (ablated, halved)


@dataclass(frozen=True)
class Twice(Orthogonalise):
    """A way of writing that asks for another map than the recipe's: twice as much is taken away."""

    exact: ClassVar[bool] = False
    clears: ClassVar[bool] = False

    def mapped(self, change: LinearMap) -> LinearMap:
        return replace(change, left=2 * change.left)


def written(form: Export, subject: Subject, recipe: Recipe, folder: Path, edit: WeightEdit | None = None) -> Path:
    """The files of a form alone."""
    folder.mkdir()
    form.check(subject, recipe, edit or Orthogonalise())
    form.write(subject, recipe, edit or Orthogonalise(), folder)
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fresh process would run, here: it takes seconds to begin, and has its own tests."""

    def said(scratch: Path, by: str, count: int) -> list[Any]:
        lines: list[Any] = []
        monkeypatch.setattr(reloading, "_say", lines.append)
        try:
            reloading.main(json.loads((scratch / "request.json").read_text()))
        except SystemExit as error:
            raise ModelError(f"What was written cannot be opened by plain {by}: {error}") from None
        assert len(lines) == count + 1
        return lines

    monkeypatch.setattr(fresh, "_said", said)


def plain(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A folder as plain transformers opens it."""
    model, loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    return model.eval()


def logits_of(model: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    with torch.inference_mode():
        return [model(torch.tensor([list(row)])).logits[0] for row in rows]


def hooked(subject: Subject, recipe: Recipe | None = None) -> list[Tensor]:
    """The live model's logits for every prompt, under a recipe's hooks."""
    rows = token_rows(subject, PROMPTS)
    with steered(subject, recipe):
        return [subject.logits(subject.batch([row]))[0] for row in rows]


def apart(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(ones, others, strict=True))


def gap(model: Any, subject: Subject, recipe: Recipe | None = None) -> float:
    """How far a plain model is from the live one under the recipe."""
    return apart(hooked(subject, recipe), logits_of(model, token_rows(subject, PROMPTS)))


def tensors_in(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def rewrite(folder: Path, change: Any) -> None:
    """Replace the tensors of a folder by `change(tensors)`."""
    save_file(change(tensors_in(folder)), folder / "model.safetensors", metadata={"format": "pt"})


def names_in(file: Path) -> set[str]:
    with safe_open(file, framework="pt") as opened:
        return set(opened.keys())
