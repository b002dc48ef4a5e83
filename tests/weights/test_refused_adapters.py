"""Adapters that are something else, or of another model: each refused with what it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import random_direction
from tests.tiny import save_model
from tests.weights.adapters import CONFIG, adapter, orthogonal, read, save, simple
from workbench.errors import RecipeError
from workbench.interventions import Ablate, LinearMap, Recipe, Rotate
from workbench.models import Subject, open_model, writers
from workbench.weights import import_recipe
from workbench.weights.compiling import Compiled


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"use_dora": True}, "scales whole columns"),
        ({"modules_to_save": ["lm_head"]}, "replaces whole modules"),
        ({"layer_replication": [[0, 2]]}, "repeats layers"),
        ({"alora_invocation_tokens": [3]}, "after certain tokens alone"),
        ({"trainable_token_indices": [3]}, "the embeddings of some tokens"),
        ({"ensure_weight_tying": True}, "the unembedding too"),
        ({"peft_type": "IA3"}, "of the kind 'IA3'"),
        ({"r": 4}, "has rank 1 and its configuration says 4"),
        ({"rank_pattern": {"o_proj": 2}}, "has rank 1 and its configuration says 2"),
        ({"alpha_pattern": {".*proj": 2}}, "is a regular expression"),
        ({"r": 0}, "not an adapter's configuration"),
        ({"lora_alpha": "much"}, "not an adapter's configuration"),
        ({"peft_type": None}, "not an adapter's configuration"),
    ],
)
def test_what_an_adapter_does_beside_its_factors_is_refused(
    llama: Subject, config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = simple(llama, tmp_path / "a")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    with pytest.raises(RecipeError, match=says):
        import_recipe(llama, folder)


def changed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Subject, Path], Path]:
    """The simple adapter with its tensors changed."""

    def make(subject: Subject, folder: Path) -> Path:
        tensors = read(simple(subject, folder))
        change(tensors)
        return save(folder, tensors, CONFIG)

    return make


def renamed(old: str, new: str) -> Callable[[Subject, Path], Path]:
    """The simple adapter with other names."""

    def make(subject: Subject, folder: Path) -> Path:
        return save(folder, {key.replace(old, new): t for key, t in read(simple(subject, folder)).items()}, CONFIG)

    return make


def trained(tensors: dict[str, Tensor]) -> None:
    for name in tensors:
        tensors[name] = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(len(name)))


O_PROJ = "base_model.model.model.layers.1.self_attn.o_proj"
OTHER = {
    "trained, or of another base": (changed(trained), "and more than by taking directions away"),
    "left not parallel to right": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_B.weight": torch.ones(32, 1)})),
        "and more than by taking directions away",
    ),
    "a matrix that reads": (
        renamed("layers.1.self_attn.o_proj", "layers.1.self_attn.q_proj"),
        "layers.1.self_attn.q_proj, and nothing of that name writes",
    ),
    "a layer that is not there": (
        renamed("layers.2", "layers.31"),
        r"layers.31.self_attn.o_proj, and nothing of that name .* another base \(someone/base\)",
    ),
    "another family": (
        renamed("model.layers", "gpt_neox.h"),
        r"None of the adapter's modules .* another base \(someone/base\)",
    ),
    "another width": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_B.weight": torch.ones(48, 1)})), "is 48 x 32 and that of llama"
    ),
    "another input": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_A.weight": torch.ones(1, 7)})), "made for another base"
    ),
    "half a pair": (changed(lambda t: t.pop(f"{O_PROJ}.lora_B.weight")), "is damaged: the factors of"),
    "factors that do not fit": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_B.weight": torch.ones(32, 2)})), "is damaged: the factors of"
    ),
    "a bias of another length": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_B.bias": torch.ones(3)})), "is damaged: the bias of"
    ),
    "DoRA unsaid": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_magnitude_vector": torch.ones(32)})), "scales whole columns"
    ),
    "a whole bias": (changed(lambda t: t.update({f"{O_PROJ}.bias": torch.ones(32)})), "which is no part of a LoRA"),
    "another prefix": (
        renamed("base_model.model.", ""),
        "which is no part of a LoRA",
    ),
    "whole numbers": (
        changed(lambda t: t.update({f"{O_PROJ}.lora_A.weight": torch.ones(1, 32, dtype=torch.int64)})), "finite numbers"
    ),
    "not a number": (changed(lambda t: t[f"{O_PROJ}.lora_A.weight"].fill_(torch.nan)), "not of finite numbers"),
    "zeros": (changed(lambda t: [tensor.zero_() for tensor in t.values()]), "changes nothing"),
    "no tensor": (changed(lambda t: t.clear()), "holds no tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER)
def test_an_adapter_that_is_no_ablation_of_this_model_is_refused_with_what_it_is(
    llama: Subject, case: str, tmp_path: Path
) -> None:
    make, says = OTHER[case]
    with pytest.raises(RecipeError, match=says):
        import_recipe(llama, make(llama, tmp_path / "a"))


def test_what_is_not_in_the_matrix_s_own_rows_is_trained_or_of_another_base(llama: Subject, tmp_path: Path) -> None:
    """An MLP that is wider than the stream reads what it never writes; there a stranger is known by its A alone."""
    folder = adapter(llama, Ablate(random_direction(llama)).at("mlp_out"), tmp_path / "a")
    tensors = read(folder)
    trained(tensors)
    with pytest.raises(RecipeError, match=r"down_proj reads is not what that of llama writes.*\(someone/base\); merge"):
        import_recipe(llama, save(folder, tensors, CONFIG))


def test_an_adapter_of_a_model_with_other_weights_is_refused(
    tiny_folders: dict[str, Path], llama: Subject, tmp_path: Path
) -> None:
    other = open_model(str(save_model("llama", tmp_path / "other", seed=9)), dtype="float32")
    folder = adapter(other, Ablate(random_direction(other)).at(["embed", "mlp_out"]), tmp_path / "a")
    with pytest.raises(RecipeError, match="another base"):
        import_recipe(llama, folder)


def test_another_embedding_than_the_model_s_is_of_another_base(llama: Subject, tmp_path: Path) -> None:
    folder = adapter(llama, Ablate(random_direction(llama)).at("embed"), tmp_path / "a")
    own = writers(llama)[0].matrix(llama).detach()
    tensors = read(folder)
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    assert len(import_recipe(llama, save(tmp_path / "b", tensors | {name: own}, CONFIG))) == 1
    with pytest.raises(RecipeError, match=r"another .*embed_tokens than llama"):
        import_recipe(llama, save(tmp_path / "c", tensors | {name: own + 1.0}, CONFIG))


def test_a_rotation_is_an_edit_but_no_ablation(llama: Subject, tmp_path: Path) -> None:
    one = random_direction(llama, 1)
    two = orthogonal(one, random_direction(llama, 2))
    turn = LinearMap(
        torch.stack([two.unit - one.unit, -one.unit - two.unit]), torch.stack([one.unit, two.unit]), torch.zeros(32)
    )
    writer = next(writer for writer in writers(llama) if str(writer) == "1.mlp_out")
    compiled = Compiled({writer: turn}, Rotate(one, two).at(1))
    with pytest.raises(RecipeError, match="and more than by taking directions away"):
        import_recipe(llama, adapter(llama, compiled, tmp_path / "a"))


def test_a_matrix_whose_output_is_normalised_has_no_recipe(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    gemma = tiny_subjects["gemma3"]
    writer = next(writer for writer in writers(gemma) if str(writer) == "1.mlp_out")
    compiled = Compiled({writer: LinearMap.removing(random_direction(gemma).unit[None], 1.0)}, Recipe())
    with pytest.raises(RecipeError, match="is normalised before it reaches the stream"):
        import_recipe(gemma, adapter(gemma, compiled, tmp_path / "a"))


def test_a_position_embedding_alone_has_no_recipe(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    gpt2 = tiny_subjects["gpt2"]
    writer = next(writer for writer in writers(gpt2) if writer.component == "pos_embed")
    compiled = Compiled({writer: LinearMap.removing(random_direction(gpt2).unit[None], 1.0)}, Recipe())
    with pytest.raises(RecipeError, match="the position embedding alone"):
        import_recipe(gpt2, adapter(gpt2, compiled, tmp_path / "a"))


def test_an_adapter_s_files_that_cannot_be_read_are_named(llama: Subject, tmp_path: Path) -> None:
    folder = simple(llama, tmp_path / "a")
    assert len(import_recipe(llama, folder / "adapter_model.safetensors")) == 1
    (folder / "adapter_model.safetensors").write_bytes(b"\x08" + bytes(7) + b"{")
    with pytest.raises(RecipeError, match="is not a safetensors file"):
        import_recipe(llama, folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(RecipeError, match=r"adapter_model.bin is a pickle, which runs code"):
        import_recipe(llama, folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(RecipeError, match=r"has no adapter_model.safetensors"):
        import_recipe(llama, folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(RecipeError, match="not readable JSON"):
        import_recipe(llama, folder)
