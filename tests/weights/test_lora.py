"""Export as a LoRA adapter: the same logits through PEFT, exact targets, and what has no such form."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.laws.cases import an_edit
from tests.tiny import CONFIGS, save_model
from tests.weights.again import CLOSE, RECIPES, Twice, ablated, gap, halved, names_in, plain, written
from tests.weights.test_hf import gpt2
from workbench.errors import ModelError, RecipeError, UsageError
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject, open_model
from workbench.weights import Orthogonalise, PreserveColumns, WeightEdit, edited
from workbench.weights.exports import lora
from workbench.weights.exports.lora import Lora

__all__ = ["gpt2"]
EDIT = Orthogonalise()
pytestmark = [
    # PEFT asks transformers for a name that transformers has deprecated.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    # Merging is not what is tested; the card says so too.
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but the targeted layer"),
]


def adapted(subject: Subject, adapter: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The subject's folder with an adapter, as PEFT opens it."""
    return PeftModel.from_pretrained(plain(subject.folder, dtype), adapter).eval()


@pytest.mark.parametrize("recipe", RECIPES)
def test_peft_has_the_hooks_logits(tiny: Subject, recipe: Any, tmp_path: Path) -> None:
    made = recipe(tiny)
    if reason := {"gemma3": "normalised before", "mixtral": "mlp_out of mixtral is written by experts"}.get(tiny.name):
        with pytest.raises(RecipeError, match=reason):
            Lora().check(tiny, made, EDIT)
        return
    model = adapted(tiny, written(Lora(), tiny, made, tmp_path / "out"))
    assert gap(model, tiny, made) <= CLOSE
    with model.disable_adapter():
        assert gap(model, tiny) <= 1e-5


def test_only_what_the_adapter_is_about_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, options = CONFIGS["llama"]
    monkeypatch.setitem(CONFIGS, "deep", (kind, options | {"num_hidden_layers": 13}))
    deep = open_model(str(save_model("deep", tmp_path / "deep")), dtype="float32")
    recipe = Ablate(random_direction(deep)).at(["1.mlp_out", "1.attn_out"])
    model = adapted(deep, written(Lora(), deep, recipe, tmp_path / "out"))
    found = {name.rpartition(".lora_A")[0] for name, _ in model.named_modules() if name.endswith("lora_A")}
    place = "base_model.model.model.layers.1"
    assert found == {f"{place}.self_attn.o_proj", f"{place}.mlp.down_proj"}
    assert gap(model, deep, recipe) <= CLOSE


def test_an_addition_is_the_bias_of_an_adapter_though_the_base_has_none(llama: Subject, tmp_path: Path) -> None:
    recipe = Add(random_direction(llama)).at(2) + Ablate(random_direction(llama, 7)).at("attn_out")
    folder = written(Lora(), llama, recipe, tmp_path / "out")
    assert "base_model.model.model.layers.1.mlp.down_proj.lora_B.bias" in names_in(folder / "adapter_model.safetensors")
    assert gap(adapted(llama, folder), llama, recipe) <= CLOSE


def test_a_base_with_biases_keeps_them_and_the_adapter_takes_off_its_part(gpt2: Subject, tmp_path: Path) -> None:
    model = adapted(gpt2, written(Lora(), gpt2, halved(gpt2), tmp_path / "out"))
    assert gap(model, gpt2, halved(gpt2)) <= CLOSE
    with model.disable_adapter():
        assert gap(model, gpt2) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3", "gpt2"])
def test_what_every_token_adds_is_one_more_rank(name: str, tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = tiny_subjects[name]
    recipe = Ablate(random_direction(subject, 3)).at("embed") + Add(random_direction(subject, layer=0)).at("embed")
    folder = written(Lora(), subject, recipe, tmp_path / "out")
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    assert gap(adapted(subject, folder), subject, recipe) <= CLOSE


def test_numbers_are_float32_beside_a_base_of_any_dtype(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    subject = open_model(str(tiny_folders["llama"]), dtype="bfloat16")
    folder = written(Lora(), subject, ablated(subject), tmp_path / "out")
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    model = adapted(subject, folder, torch.bfloat16)
    kept = dict(model.named_parameters())["base_model.model.model.layers.0.mlp.down_proj.lora_A.default.weight"]
    assert torch.equal(kept, tensors["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"])


def test_a_bias_beside_an_embedding_is_refused_as_peft_refuses_it(llama: Subject) -> None:
    with pytest.raises(RecipeError, match=r"1\.mlp_out of llama has to add a vector and embed is edited too"):
        Lora().check(llama, ablated(llama) + Add(random_direction(llama)).at(2), EDIT)
    model = AutoModelForCausalLM.from_pretrained(llama.folder)
    with pytest.raises(ValueError, match="lora_bias=True is not supported for Embedding"):
        get_peft_model(model, LoraConfig(target_modules=["embed_tokens"], lora_bias=True))


def test_a_base_with_biases_and_an_edited_embedding_is_refused(gpt2: Subject) -> None:
    with pytest.raises(RecipeError, match="PEFT allows no bias"):
        Lora().check(gpt2, ablated(gpt2), EDIT)


@pytest.mark.parametrize(
    ("recipe", "edit", "reason"),
    [
        (ablated, PreserveColumns(), "no adapter of low rank"),
        (lambda subject: Recipe(), EDIT, "changes no matrix"),
        (lambda subject: an_edit("replace", subject, 0.5).at("1.mlp_out"), EDIT, "shrinks as a whole"),
    ],
)
def test_what_is_not_of_low_rank_is_refused(llama: Subject, recipe: Any, edit: WeightEdit, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        Lora().check(llama, recipe(llama), edit)


def test_an_edit_that_asks_for_another_map_gets_it(llama: Subject, tmp_path: Path) -> None:
    model = adapted(llama, written(Lora(), llama, halved(llama), tmp_path / "out", Twice()))
    with edited(llama, halved(llama), Twice()) as live:
        assert gap(model, live) <= CLOSE
    assert gap(model, llama, halved(llama)) > 100 * CLOSE


@pytest.mark.parametrize(
    ("known", "count"), [([], 0), (["model.layers.1.mlp.down_proj", "draft.model.layers.1.mlp.down_proj"], 2)]
)
def test_a_target_that_is_not_one_module_is_refused(
    known: list[str], count: int, llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "_module_names", lambda subject: known)
    with pytest.raises(ModelError, match=f"has {count} modules called model.layers.1.mlp.down_proj"):
        Lora().check(llama, Ablate(random_direction(llama)).at("1.mlp_out"), EDIT)


def test_experts_may_stay_as_they_are(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    mixtral = tiny_subjects["mixtral"]
    recipe = Ablate(random_direction(mixtral)).at(["attn_out", "embed"])
    assert gap(adapted(mixtral, written(Lora(), mixtral, recipe, tmp_path / "out")), mixtral, recipe) <= CLOSE


def test_without_peft_one_is_told_to_install_it(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install"):
        Lora().check(llama, ablated(llama), EDIT)


def test_the_base_is_named(llama: Subject, tmp_path: Path) -> None:
    folder = written(Lora(), llama, halved(llama), tmp_path / "out")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(llama.folder)
    assert any(llama.digest in each for each in Lora().said(llama, halved(llama), EDIT))


def test_a_tied_embedding_is_said_to_be_wrong_when_merged(tiny_subjects: dict[str, Subject]) -> None:
    qwen2 = tiny_subjects["qwen2"]
    assert any("merge_and_unload" in each for each in Lora().said(qwen2, ablated(qwen2), EDIT))
    assert not any("merge_and_unload" in each for each in Lora().said(qwen2, halved(qwen2), EDIT))
