"""A recipe compiles to the weights that are the same edit, or says which part prevents it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import logits_of
from workbench.errors import RecipeError
from workbench.interventions import Ablate, AblateSubspace, Add, Cap, Clamp, Gate, Recipe, Schedule, steered
from workbench.models import Site, Subject, open_model
from workbench.weights import compile_recipe, edited

Make = Callable[[Subject], Recipe]


def one(subject: Subject):
    return random_direction(subject, 1)


def two(subject: Subject):
    return random_direction(subject, 2)


TURNING: dict[str, Make] = {
    "all": lambda s: Ablate(one(s)).at("all"),
    "parts": lambda s: Ablate(one(s), 0.4).at(["attn_out", "mlp_out"]),
    "negative": lambda s: Ablate(one(s), -0.8).at("1.mlp_out"),
    "first input": lambda s: Ablate(one(s), 0.4).at(0),
    "embedding": lambda s: Ablate(one(s), 0.4).at("embed"),
    "span": lambda s: AblateSubspace((one(s), two(s))).at("all"),
    "two at one place": lambda s: Ablate(one(s), 0.7).at("attn_out") + Ablate(two(s), 0.3).at("attn_out"),
    "other reads of a cleared stream": lambda s: Ablate(one(s)).at("all") + Ablate(one(s), 0.3).at("2"),
}
ADDING: dict[str, Make] = {
    "input": lambda s: Add(one(s), 0.5).at("1-2"),
    "output": lambda s: Add(one(s), 0.5).at("resid_post"),
    "mlp": lambda s: Add(one(s), 0.5).at("0.mlp_out"),
    "after clearing": lambda s: Ablate(one(s)).at("all") + Add(one(s), 0.5).at("1"),
    "beside clearing": lambda s: Ablate(one(s)).at("all") + Add(two(s), 0.5).at("0-2"),
    "clamped": lambda s: Clamp(one(s), 0.5).at("all"),
    "first input": lambda s: Add(one(s), 0.5).at(0),
}


def agree(subject: Subject, recipe: Recipe) -> None:
    plain = logits_of(subject)
    with steered(subject, recipe):
        hooked = logits_of(subject)
    with edited(subject, recipe):
        written = logits_of(subject)
    assert float((hooked - plain).abs().max()) > 1e-2, "the edit changes nothing, so that agreeing says nothing"
    assert float((hooked - written).abs().max()) < 1e-4


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "phi3", "mixtral"])
@pytest.mark.parametrize("name", TURNING)
def test_weights_are_the_same_edit_as_hooks(tiny_subjects: dict[str, Subject], architecture: str, name: str) -> None:
    agree(tiny_subjects[architecture], TURNING[name](tiny_subjects[architecture]))


@pytest.mark.parametrize("name", ADDING)
def test_additions_are_written_by_biases(tiny_subjects: dict[str, Subject], name: str) -> None:
    agree(tiny_subjects["gpt2"], ADDING[name](tiny_subjects["gpt2"]))


def test_an_embedding_can_add_where_no_bias_can(tiny_subjects: dict[str, Subject]) -> None:
    for name in ("llama", "qwen2", "gemma3"):  # Gemma multiplies its embeddings on their way
        agree(tiny_subjects[name], ADDING["first input"](tiny_subjects[name]))


def test_a_writer_without_a_bias_cannot_add(llama: Subject) -> None:
    compiled = compile_recipe(llama, ADDING["input"](llama))
    assert list(map(str, compiled.unhoused)) == ["0.mlp_out", "1.mlp_out"]
    with pytest.raises(RecipeError, match=r"0\.mlp_out of llama has no bias"), edited(llama, compiled):
        pass


REFUSED: dict[str, tuple[Make, str]] = {
    "half strength on inputs": (lambda s: Ablate(one(s), 0.5).at("all"), "embed still writes what it reads"),
    "one input": (lambda s: Ablate(one(s)).at(2), "written by many matrices"),
    "one place left out": (
        lambda s: Ablate(one(s)).at(["embed", "attn_out", "0.mlp_out", "1-2"]),
        r"1\.mlp_out still writes what it reads",
    ),
    "not linear": (lambda s: Cap(one(s)).at("mlp_out"), "no linear function"),
    "some tokens": (lambda s: Ablate(one(s)).at("mlp_out", "generated"), "act on every token"),
    "a gate": (
        lambda s: Ablate(one(s)).at("mlp_out", gate=_gate(s)),
        "weights have no gate",
    ),
    "a schedule": (lambda s: Ablate(one(s)).at("mlp_out", schedule=Schedule(((0, 1.0), (4, 0.0)))), "no schedule"),
}


def _gate(subject: Subject) -> Gate:
    from workbench.directions import Coordinate

    return Gate(Coordinate(one(subject)), Site(0, "resid_pre"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_weights_says_which_part_prevents_it(llama: Subject, name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(RecipeError, match=why):
        compile_recipe(llama, make(llama))


def test_where_a_norm_follows_the_writer_the_edit_stays_a_hook(tiny_subjects: dict[str, Subject]) -> None:
    with pytest.raises(RecipeError, match="normalised before it reaches the stream"):
        compile_recipe(tiny_subjects["gemma3"], TURNING["parts"](tiny_subjects["gemma3"]))


def test_a_recipe_of_nothing_compiles_to_nothing(llama: Subject) -> None:
    assert not compile_recipe(llama, Recipe()).maps
    assert not compile_recipe(llama, Ablate(one(llama), 0.0).at("all")).maps


def test_what_is_multiplied_on_its_way_is_divided_first(tmp_path: Path) -> None:
    """Granite multiplies embeddings and what each block writes; with biases, so that they can add."""
    from transformers import AutoModelForCausalLM, GraniteConfig

    from tests.tiny import _SHAPE, tokenizer

    options = _SHAPE | {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "mlp_bias": True}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GraniteConfig(**options, attention_bias=True))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0) if weight.ndim > 1 else weight.add_(0.1)
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    subject = open_model(str(tmp_path), dtype="float32")
    for make in (*TURNING.values(), *ADDING.values()):
        agree(subject, make(subject))
