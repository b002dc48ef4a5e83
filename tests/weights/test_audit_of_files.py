"""How the audit reads: shards, names, resized and untied embeddings, other models, damaged and untrusted files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import save_model
from tests.weights.checkpoints import (
    FILE,
    Tensors,
    ablated,
    copied,
    edited,
    in_bfloat16,
    noise,
    shards,
    unit_of,
)
from workbench.errors import ModelError
from workbench.weights import Orthogonalise
from workbench.weights.applying import edited_tensor
from workbench.weights.audit import audit_weights, reading
from workbench.weights.audit.verdict import FINETUNED, ONE, UNCHANGED


def test_slices_of_any_size_give_the_same_audit(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, unit = tiny_folders["mixtral"], unit_of()
    suspect = edited(base, tmp_path / "s", lambda _: ablated(unit, 0.5))
    whole = audit_weights(suspect, str(base))
    monkeypatch.setattr(reading, "_BLOCK", 500)
    sliced = audit_weights(suspect, str(base))
    assert [one.dose for one in sliced.matrices] == pytest.approx([one.dose for one in whole.matrices], abs=1e-5)
    assert [one.size for one in sliced.tensors] == pytest.approx([one.size for one in whole.tensors], rel=1e-5)


def test_a_sharded_checkpoint_reads_as_a_whole_one(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    whole = edited(base, tmp_path / "w", lambda _: ablated(unit, 0.5))
    sharded = audit_weights(str(shards(Path(whole), tmp_path / "s")), str(base))
    assert sharded.tensors == audit_weights(whole, str(base)).tensors or {one.name: one for one in sharded.tensors} == {
        one.name: one for one in audit_weights(whole, str(base)).tensors
    }


def test_names_without_the_prefix_of_the_body_are_the_same_tensors(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_folders["gpt2"]

    def bare(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith("transformer.")]:
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    assert audit_weights(copied(base, tmp_path / "s", bare), str(base)).verdict == UNCHANGED
    assert audit_weights(str(base), copied(base, tmp_path / "b", bare)).verdict == UNCHANGED


def test_an_untied_unembedding_is_compared_with_the_embedding_it_came_from(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["qwen2"], unit_of()
    suspect = edited(base, tmp_path / "s", lambda _: ablated(unit, 0.5))
    statuses = {one.name: one.status for one in audit_weights(suspect, str(base)).tensors}
    assert statuses["lm_head.weight"] == "equal"
    assert any("untied" in note for note in audit_weights(suspect, str(base)).notes)


def test_what_only_the_suspect_has_is_listed(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]

    def add(tensors: Tensors) -> None:
        tensors["value_head.weight"] = torch.randn(tensors["lm_head.weight"].shape)
        tensors["value_head.bias"] = torch.randn(3)

    audit = audit_weights(copied(base, tmp_path / "s", add), str(base))
    assert {one.name for one in audit.tensors if one.status == "added"} == {"value_head.weight", "value_head.bias"}
    assert audit.verdict == UNCHANGED
    assert any(note.startswith("Added: value_head") and "1 more" in note for note in audit.notes)


def test_experts_that_are_one_tensor_come_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experts = torch.randn(4, 8, 6)
    save_file({"x.w": experts}, tmp_path / FILE)
    stored = reading.Stored.of(tmp_path, "x", "x.w")
    for size in (1 << 22, 20):
        monkeypatch.setattr(reading, "_BLOCK", size)
        blocks = [before for before, _ in reading.Pair("x.w", stored, stored, axis=1).blocks()]
        columns = {tuple(column.tolist()) for block in blocks for column in block.T}
        assert all(block.shape[0] == 8 for block in blocks)
        assert columns == {tuple(column.tolist()) for expert in experts for column in expert.T}


def test_a_tied_embedding_that_was_edited_is_warned_of(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["qwen2"]
    name = "model.embed_tokens.weight"

    def edit(tensors: Tensors) -> None:
        tensors[name] = edited_tensor(tensors[name], 1, ablated(unit_of(), 1.0), Orthogonalise(), None)

    audit = audit_weights(copied(base, tmp_path / "s", edit), str(base))
    assert audit.verdict == ONE
    assert any("what tokens score has changed" in note for note in audit.notes)


def test_where_a_norm_follows_the_stream_is_said_not_to_be_cleared(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = tiny_folders["gemma3"]
    audit = audit_weights(edited(base, tmp_path / "s", lambda _: ablated(unit_of(), 1.0)), str(base))
    assert any("a norm follows" in note for note in audit.notes)


def test_an_embedding_that_was_given_tokens_is_compared_where_both_have_it(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    suspect = edited(base, tmp_path / "e", lambda _: ablated(unit, 0.5))

    def grow(tensors: Tensors) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = torch.cat([tensors[name], torch.randn(3, 32)])

    audit = audit_weights(copied(Path(suspect), tmp_path / "s", grow), str(base))
    assert audit.verdict == ONE
    assert audit.doses["embed"].value == pytest.approx(0.5, abs=0.01)
    assert {one.name for one in audit.tensors if one.status == "resized"} == {
        "model.embed_tokens.weight",
        "lm_head.weight",
    }


def test_other_dtypes_are_told_and_folders_of_one_name_told_apart(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    base, unit = tiny_folders["llama"], unit_of()
    suspect = in_bfloat16(Path(edited(base, tmp_path / "e", lambda _: ablated(unit, 0.5))), tmp_path / "s")
    audit = audit_weights(str(suspect), str(base))
    assert audit.verdict == ONE
    assert "The suspect is in bfloat16 and the base in float32." in audit.notes
    for side in ("one", "other"):
        shutil.copytree(base, tmp_path / side / "model")
    file = tmp_path / "one" / "model" / FILE
    save_file({name: tensor for name, tensor in load_file(file).items() if "q_proj" not in name}, file)
    with pytest.raises(ModelError, match=r"one/model is no version of .*other/model"):
        audit_weights(str(tmp_path / "one" / "model"), str(tmp_path / "other" / "model"))


def test_another_model_is_one_error(tiny_folders: dict[str, Path]) -> None:
    for suspect, base in (("gpt2", "llama"), ("llama", "gpt2"), ("gemma3", "llama"), ("mixtral", "llama")):
        with pytest.raises(ModelError, match=f"is no version of .*it is of the architecture {suspect}") as caught:
            audit_weights(str(tiny_folders[suspect]), str(tiny_folders[base]))
        assert "\n" not in str(caught.value)


def test_a_deeper_or_narrower_model_is_one_error(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny import CONFIGS

    kind, options = CONFIGS["llama"]
    base = str(tiny_folders["llama"])
    for name, other, says in (
        ("deeper", {"num_hidden_layers": 4}, "a layer more"),
        ("shallower", {"num_hidden_layers": 2}, "it has no"),
        ("narrower", {"hidden_size": 16}, "is .* not"),
    ):
        monkeypatch.setitem(CONFIGS, name, (kind, options | other))
        with pytest.raises(ModelError, match=f"is no version of .*{says}"):
            audit_weights(str(save_model(name, tmp_path / name)), base)


def test_damaged_files_are_named(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = str(shutil.copytree(tiny_folders["llama"], tmp_path / "base"))

    def broken(name: str, damage: Callable[[Path], object]) -> str:
        folder = shards(Path(base), tmp_path / name)
        damage(folder)
        return str(folder)

    def cut(folder: Path) -> None:
        file = folder / "model-1.safetensors"
        file.write_bytes(file.read_bytes()[:-50])

    def lose(folder: Path) -> None:
        (folder / "model-1.safetensors").unlink()

    def escape(folder: Path) -> None:
        index = folder / f"{FILE}.index.json"
        said = json.loads(index.read_text())
        said["weight_map"] = dict.fromkeys(said["weight_map"], f"../{Path(base).name}/{FILE}")
        index.write_text(json.dumps(said))

    def promise(folder: Path) -> None:
        index = folder / f"{FILE}.index.json"
        said = json.loads(index.read_text())
        said["weight_map"]["model.more"] = "model-1.safetensors"
        index.write_text(json.dumps(said))

    for name, damage, says in (
        ("cut", cut, "truncated or damaged"),
        ("lose", lose, "lacks model-1.safetensors"),
        ("escape", escape, "which its index names"),
        ("promise", promise, "lacks model.more"),
        ("index", lambda f: (f / f"{FILE}.index.json").write_text("[]"), "no index"),
    ):
        with pytest.raises(ModelError, match=says):
            audit_weights(broken(name, damage), base)
        with pytest.raises(ModelError, match=says):
            audit_weights(base, broken(f"{name}-base", damage))


def test_weights_that_are_not_finite_are_named(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]
    for number in (float("nan"), float("inf")):

        def spoil(tensors: Tensors, number: float = number) -> None:
            tensors["model.layers.0.self_attn.q_proj.weight"][3, 3] = number

        spoilt = copied(base, tmp_path / f"s{number}", spoil)
        with pytest.raises(ModelError, match=r"s\w+ has NaN or infinite values in model.layers.0.self_attn.q_proj"):
            audit_weights(spoilt, str(base))
        with pytest.raises(ModelError, match=r"s\w+ has NaN or infinite values"):
            audit_weights(str(base), spoilt)


def test_quantised_weights_are_refused(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]

    def quantise(tensors: Tensors) -> None:
        name = "model.layers.0.mlp.down_proj.weight"
        tensors[name] = tensors[name].mul(10).to(torch.int8)

    for suspect in (
        copied(base, tmp_path / "s", quantise),
        copied(base, tmp_path / "c", lambda _: None, quantization_config={"bits": 8}),
    ):
        with pytest.raises(ModelError, match="quantised"):
            audit_weights(suspect, str(base))
        with pytest.raises(ModelError, match="quantised"):
            audit_weights(str(base), suspect)


def test_pickles_are_not_read_and_code_is_not_run(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_folders["llama"]
    shutil.copytree(base, tmp_path / "p")
    torch.save(load_file(base / FILE), tmp_path / "p" / "pytorch_model.bin")
    (tmp_path / "p" / FILE).unlink()
    with pytest.raises(ModelError, match=r"no .safetensors files"):
        audit_weights(str(tmp_path / "p"), str(base))
    maps = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    suspect = copied(base, tmp_path / "s", noise(0.01), auto_map=maps, model_type="evil")
    (Path(suspect) / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert audit_weights(suspect, str(base)).verdict == FINETUNED
    with pytest.raises(ModelError):
        audit_weights(str(base), suspect)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"num_attention_heads": "four"}, {"num_attention_heads": 0}, {"vocab_size": -5}, {"hidden_act": "nonsense"},
     {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_a_wrong_configuration_is_one_sentence(
    tiny_folders: dict[str, Path], tmp_path: Path, wrong: dict[str, object]
) -> None:
    folder = Path(copied(tiny_folders["llama"], tmp_path / "s", lambda tensors: None))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | wrong))
    with pytest.raises(ModelError) as caught:
        audit_weights(str(folder), str(folder))
    assert "\n" not in str(caught.value)
