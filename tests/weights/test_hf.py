"""Export as a Hugging Face folder: the same logits without us, what is written, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import random_direction
from tests.tiny import save_model
from tests.weights.again import CLOSE, RECIPES, Twice, ablated, gap, halved, hooked, plain, rewrite, tensors_in, written
from workbench.errors import ModelError, RecipeError
from workbench.interventions import Ablate, Add, LinearMap, Recipe
from workbench.models import Subject, open_model, writers
from workbench.weights import Orthogonalise, PreserveColumns, PreserveRows, WeightEdit, apply_weights, edited
from workbench.weights.exports import hf
from workbench.weights.exports.hf import HuggingFace

# Where the stream lies in each tensor that writes to it, by the end of its name: known here by itself.
ROWS = ("o_proj.weight", "down_proj.weight", "w2.weight")
COLUMNS = ("embed_tokens.weight", "wte.weight", "wpe.weight", "c_proj.weight")


@pytest.fixture
def gpt2(tmp_path: Path) -> Subject:
    """A tiny GPT-2 whose biases are not zero."""
    folder = save_model("gpt2", tmp_path / "biased")

    def drawn(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        torch.manual_seed(3)
        return {n: torch.randn_like(t) if n.endswith("c_proj.bias") else t for n, t in tensors.items()}

    rewrite(folder, drawn)
    return open_model(str(folder), dtype="float32")


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def columns_of(name: str, tensor: Tensor) -> Tensor | None:
    """A written tensor as [d_model in], if it writes to the stream."""
    if name.endswith(ROWS):
        return tensor
    return tensor.T if name.endswith(COLUMNS) else None


@pytest.mark.parametrize("recipe", RECIPES)
def test_plain_transformers_has_the_hooks_logits(tiny: Subject, recipe: object, tmp_path: Path) -> None:
    made = recipe(tiny)  # type: ignore[operator]
    if tiny.name == "gemma3":
        with pytest.raises(RecipeError, match="normalised before it reaches the stream"):
            HuggingFace().check(tiny, made, Orthogonalise())
        return
    model = plain(written(HuggingFace(), tiny, made, tmp_path / "out"))
    assert gap(model, tiny, made) <= CLOSE
    assert gap(model, tiny) > 100 * CLOSE


def test_no_written_matrix_writes_what_was_taken_away(tiny: Subject, tmp_path: Path) -> None:
    if tiny.name == "gemma3":
        pytest.skip("it is refused")
    unit = random_direction(tiny).unit
    tensors = tensors_in(written(HuggingFace(), tiny, ablated(tiny), tmp_path / "out"))
    found = {name: each for name, tensor in tensors.items() if (each := columns_of(name, tensor)) is not None}
    assert len(found) == sum(len(writer.names) for writer in writers(tiny))
    for name, matrix in found.items():
        assert float((unit @ matrix).abs().max()) < 1e-6, name
    before = [each for n, t in tensors_in(tiny.folder).items() if (each := columns_of(n, t)) is not None]
    assert min(float((unit @ matrix).abs().max()) for matrix in before) > 1e-2


def test_everything_else_is_as_it_was_bit_for_bit(llama: Subject, tmp_path: Path) -> None:
    old, new = tensors_in(llama.folder), tensors_in(written(HuggingFace(), llama, halved(llama), tmp_path / "out"))
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {name for writer in writers(llama) for name in writer.names if writer.component != "embed"}


def test_a_model_in_many_shards_is_the_same_model(llama: Subject, tmp_path: Path) -> None:
    limit = 20_000
    whole = written(HuggingFace(), llama, ablated(llama), tmp_path / "whole")
    parts = written(HuggingFace(shard_bytes=limit), llama, ablated(llama), tmp_path / "parts")
    one, many = tensors_in(whole), tensors_in(parts)
    assert all(torch.equal(one[name], many[name]) for name in one)
    index = json.loads((parts / "model.safetensors.index.json").read_text())
    files = sorted(parts.glob("*.safetensors"))
    assert len(files) > 3
    assert {file.name for file in files} == set(index["weight_map"].values())
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in many.values())
    for file in files:
        sizes = [many[name].nbytes for name, held in index["weight_map"].items() if held == file.name]
        assert len(sizes) == 1 or sum(sizes) <= limit
    assert gap(plain(parts), llama, ablated(llama)) <= CLOSE


def test_sharded_checkpoints_are_read(llama: Subject, tmp_path: Path) -> None:
    sharded = written(HuggingFace(shard_bytes=20_000), llama, Recipe(), tmp_path / "sharded")
    subject = open_model(str(sharded), dtype="float32")
    recipe = ablated(subject)
    assert gap(plain(written(HuggingFace(), subject, recipe, tmp_path / "out")), subject, recipe) <= CLOSE


def test_an_empty_recipe_writes_the_model_as_it_is(llama: Subject, tmp_path: Path) -> None:
    old, new = tensors_in(llama.folder), tensors_in(written(HuggingFace(), llama, Recipe(), tmp_path / "out"))
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_tied_embedding_that_is_edited_is_untied(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    qwen2 = tiny_subjects["qwen2"]
    folder = written(HuggingFace(), qwen2, ablated(qwen2), tmp_path / "out")
    old, new = tensors_in(qwen2.folder), tensors_in(folder)
    assert "lm_head.weight" not in old
    assert torch.equal(new["lm_head.weight"], old["model.embed_tokens.weight"])
    assert not torch.equal(new["model.embed_tokens.weight"], old["model.embed_tokens.weight"])
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    assert any("the unembedding is the old one" in each for each in HuggingFace().said(qwen2, ablated(qwen2), EDIT))


def test_a_tied_embedding_that_is_not_edited_stays_tied(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    qwen2 = tiny_subjects["qwen2"]
    folder = written(HuggingFace(), qwen2, halved(qwen2), tmp_path / "out")
    assert "lm_head.weight" not in tensors_in(folder)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_gemmas_scaled_embedding_is_written_in_its_own_units(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    gemma3 = tiny_subjects["gemma3"]
    recipe = Add(random_direction(gemma3, layer=0)).at("embed")
    assert gap(plain(written(HuggingFace(), gemma3, recipe, tmp_path / "out")), gemma3, recipe) <= CLOSE


@pytest.mark.parametrize("recipe", RECIPES)
def test_biases_are_edited_with_their_matrices(gpt2: Subject, recipe: object, tmp_path: Path) -> None:
    made = recipe(gpt2)  # type: ignore[operator]
    assert gap(plain(written(HuggingFace(), gpt2, made, tmp_path / "out")), gpt2, made) <= CLOSE


def test_an_addition_goes_into_a_bias(gpt2: Subject, tmp_path: Path) -> None:
    recipe = ablated(gpt2) + Add(random_direction(gpt2, seed=5)).at(2)
    assert gap(plain(written(HuggingFace(), gpt2, recipe, tmp_path / "out")), gpt2, recipe) <= CLOSE


def test_an_addition_without_a_bias_is_refused_by_name(llama: Subject) -> None:
    with pytest.raises(RecipeError, match=r"1\.mlp_out of llama has no bias.*lora.*gguf"):
        HuggingFace().check(llama, Add(random_direction(llama)).at(2), Orthogonalise())


@pytest.mark.parametrize("edit", [PreserveColumns(), PreserveRows(), Twice()])
def test_what_no_hook_does_is_the_live_edit_of_weights(
    llama: Subject, edit: WeightEdit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ablated(llama)
    monkeypatch.setattr(hf, "_AT_ONCE", 32 * 7)  # what looks at whole rows has to see them whole
    model = plain(written(HuggingFace(), llama, recipe, tmp_path / "out", edit))
    with edited(llama, recipe, edit) as subject:
        assert gap(model, subject) <= CLOSE
    assert gap(model, llama, recipe) > 100 * CLOSE


def test_a_large_matrix_is_edited_in_parts_and_comes_out_the_same(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tensors_in(written(HuggingFace(), llama, ablated(llama), tmp_path / "whole"))
    monkeypatch.setattr(hf, "_AT_ONCE", 32 * 7)
    parts = tensors_in(written(HuggingFace(), llama, ablated(llama), tmp_path / "parts"))
    for name, tensor in whole.items():
        assert torch.allclose(tensor, parts[name], atol=1e-6), name


def test_weights_are_written_in_the_dtype_of_the_open_model(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    subject = open_model(str(tiny_folders["llama"]), dtype="bfloat16")
    recipe = ablated(subject)
    folder = written(HuggingFace(), subject, recipe, tmp_path / "out")
    assert {tensor.dtype for tensor in tensors_in(folder).values()} == {torch.bfloat16}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    with edited(subject, recipe) as live:
        assert gap(plain(folder, torch.bfloat16), live) == 0.0


def test_a_checkpoint_of_the_bare_model_keeps_its_names(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_folders["gpt2"], tmp_path)
    rewrite(folder, lambda tensors: {name.removeprefix("transformer."): each for name, each in tensors.items()})
    subject = open_model(str(folder), dtype="float32")
    recipe = ablated(subject)
    out = written(HuggingFace(), subject, recipe, tmp_path / "out")
    assert {"h.0.attn.c_proj.weight", "wte.weight", "lm_head.weight"} <= set(tensors_in(out))
    assert gap(plain(out), subject, recipe) <= CLOSE


def test_tokenizer_and_licence_go_along_and_programs_do_not(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_folders["llama"], tmp_path)
    for name in ("modeling_llama.py", "pytorch_model.bin", "weights.pkl", "LICENSE", "notes.md"):
        (folder / name).write_text("text")
    for name in ("config.json", "tokenizer_config.json"):
        said = json.loads((folder / name).read_text()) | {"auto_map": {"AutoConfig": "modeling_llama.Config"}}
        (folder / name).write_text(json.dumps(said))
    subject = open_model(str(folder), dtype="float32")
    out = written(HuggingFace(), subject, halved(subject), tmp_path / "out")
    assert {file.name for file in out.iterdir()} == {
        "LICENSE", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert not any("auto_map" in file.read_text() for file in out.glob("*.json"))


def test_the_configuration_comes_last(llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(hf, "_copy_files", full)
    with pytest.raises(OSError, match="no space"):
        written(HuggingFace(), llama, halved(llama), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert not (tmp_path / "out" / "config.json").exists()


def test_files_that_transformers_does_not_read_are_not_read(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_folders["llama"], tmp_path)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    subject = open_model(str(folder), dtype="float32")
    out = written(HuggingFace(), subject, halved(subject), tmp_path / "out")
    assert [file.name for file in out.glob("*.safetensors")] == ["model.safetensors"]


class TestDamage:
    """A folder that changed, or never was what it seems, is refused before a byte is written."""

    def refused(self, subject: Subject, match: str) -> None:
        with pytest.raises(ModelError, match=match):
            HuggingFace().check(subject, halved(subject), Orthogonalise())

    @pytest.fixture
    def subject(self, tiny_folders: dict[str, Path], tmp_path: Path) -> Subject:
        return open_model(str(copied(tiny_folders["llama"], tmp_path)), dtype="float32")

    def test_a_tensor_that_is_not_there_is_named(self, subject: Subject) -> None:
        lost = "model.layers.1.mlp.down_proj.weight"
        rewrite(subject.folder, lambda tensors: {name: each for name, each in tensors.items() if name != lost})
        self.refused(subject, f"has no tensor {lost}")

    def test_quantised_folders_are_refused(self, subject: Subject) -> None:
        config = json.loads((subject.folder / "config.json").read_text())
        (subject.folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
        self.refused(subject, "quantised")

    def test_numbers_of_eight_bits_are_refused(self, subject: Subject) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        rewrite(subject.folder, lambda tensors: tensors | {name: tensors[name].to(torch.float8_e4m3fn)})
        self.refused(subject, f"{name} .* is of F8_E4M3")

    def test_a_truncated_file_is_named(self, subject: Subject) -> None:
        file = subject.folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1000])
        self.refused(subject, "model.safetensors is truncated or damaged")

    def test_an_index_that_points_elsewhere_is_refused(self, subject: Subject) -> None:
        (subject.folder / "model.safetensors").unlink()
        index = {"weight_map": {"model.embed_tokens.weight": "../../elsewhere.safetensors"}}
        (subject.folder / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refused(subject, "lacks ../../elsewhere.safetensors, which its index names")

    def test_an_index_that_names_what_is_not_there_is_refused(self, subject: Subject, tmp_path: Path) -> None:
        sharded = written(HuggingFace(shard_bytes=20_000), subject, Recipe(), tmp_path / "sharded")
        sharded_subject = open_model(str(sharded), dtype="float32")
        (sharded / "model-00001-of-00007.safetensors").unlink(missing_ok=True)
        next(sharded.glob("model-00002*")).unlink()
        self.refused(sharded_subject, "which its index names")

    def test_an_edited_model_is_not_its_folder(self, llama: Subject) -> None:
        applied = apply_weights(llama, halved(llama))
        try:
            self.refused(applied.subject, "is not the model that its folder holds")
        finally:
            applied.undo()


def test_a_matrix_that_still_writes_what_was_taken_away_is_not_written(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_it_was(tensor: Tensor, axis: int, change: LinearMap, edit: object, added: object) -> Tensor:
        return tensor

    monkeypatch.setattr(hf, "edited_tensor", as_it_was)
    with pytest.raises(ModelError, match="embed still writes"):
        written(HuggingFace(), llama, ablated(llama), tmp_path / "out")


def test_the_configuration_of_a_model_within_a_model_is_changed_too() -> None:
    old = {"torch_dtype": "float32", "text_config": {"dtype": "float32", "tie_word_embeddings": True}, "size": 3}
    assert hf._config(old, torch.bfloat16, untied=True) == {
        "dtype": "bfloat16", "tie_word_embeddings": False, "size": 3,
        "text_config": {"dtype": "bfloat16", "tie_word_embeddings": False},
    }  # fmt: skip


def test_hooks_leave_no_trace_in_what_is_written(llama: Subject, tmp_path: Path) -> None:
    before = hooked(llama)
    written(HuggingFace(), llama, Ablate(random_direction(llama, seed=9)).at("all"), tmp_path / "out")
    assert all(torch.equal(one, other) for one, other in zip(before, hooked(llama), strict=True))


EDIT = Orthogonalise()
