"""Opening models: parity with plain transformers, and one sentence for every damaged file."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.laws.cases import PROMPTS, logits_of
from tests.tiny import save_model
from workbench.errors import ModelError, UsageError, WorkbenchError
from workbench.models import Site, Subject, loading, open_model, token_rows
from workbench.models.loading import check_parity, default_dtype


def test_logits_equal_the_plain_models(tiny: Subject, tiny_folders: dict[str, Path]) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders[tiny.name], attn_implementation="eager").eval()
    for row, text in zip(token_rows(tiny, PROMPTS), PROMPTS, strict=True):
        with torch.inference_mode():
            expected = plain(torch.tensor([row])).logits
        found = tiny.logits(tiny.batch([row]))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=text.text)


def test_padding_on_the_left_changes_no_logit_beyond_rounding(tiny: Subject) -> None:
    together = logits_of(tiny)[:, -1]
    alone = torch.cat([tiny.logits(tiny.batch([row]))[:, -1] for row in token_rows(tiny, PROMPTS)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_last_logits_are_the_last_of_all(tiny: Subject) -> None:
    batch = tiny.batch(token_rows(tiny, PROMPTS))
    torch.testing.assert_close(tiny.logits(batch, last=1)[:, -1], tiny.logits(batch)[:, -1])


def test_a_gap_to_the_plain_model_is_an_error_that_names_both() -> None:
    plain = torch.randn(1, 4, 9)
    check_parity(plain, plain.clone(), torch.float32, "tiny")
    with pytest.raises(ModelError, match="TransformerBridge of tiny and the plain transformers model differ by"):
        check_parity(plain, plain + 0.1, torch.float32, "tiny")
    with pytest.raises(ModelError, match="differ by nan"):
        check_parity(plain, plain * float("nan"), torch.float32, "tiny")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    # A row of the embedding that no prompt of the parity check uses.
    tensors["model.embed_tokens.weight"][4, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"NaN or infinite values in .*embed_tokens"):
        open_model(str(folder), dtype="float32")


def test_weights_that_are_missing_are_never_made_up(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks the weights .*down_proj"):
        open_model(str(folder), dtype="float32")


def test_a_truncated_safetensors_is_one_sentence(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated or damaged"):
        open_model(str(folder))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no .safetensors files"),
        (lambda f: (f / "config.json").write_text('{"model_type": "nonsense"}'), "could not be read"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "could not be read"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, damage: object, says: str) -> None:
    folder = save_model("llama", tmp_path / "m")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=says) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no .safetensors files"):
        open_model(str(folder))


def test_a_folder_that_asks_for_its_own_code_does_not_run_it(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError):
        open_model(str(folder))
    assert not (tmp_path / "ran").exists()


def test_what_is_not_a_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"x")
    (tmp_path / "x.gguf").write_bytes(b"not one")
    for name, says in [
        (str(tmp_path / "x.bin"), "not a .gguf"),
        (str(tmp_path / "x.gguf"), "not a GGUF file"),
        (str(tmp_path / "none.gguf"), "There is no file"),
        ("a b/c d/e", "neither a catalog name"),
        ("nobody/nothing", "could not be downloaded"),
    ]:
        with pytest.raises(WorkbenchError, match=says):
            open_model(name)


def test_options_that_need_a_gpu_say_so(tiny_folders: dict[str, Path]) -> None:
    if torch.cuda.is_available():
        pytest.fail("This machine has a GPU: test the options themselves.")
    for options in ({"device_map": "auto"}, {"quantisation": "4bit"}):
        with pytest.raises(UsageError, match="need a CUDA GPU"):
            open_model(str(tiny_folders["llama"]), **options)
    with pytest.raises(UsageError, match="4bit or 8bit"):
        open_model(str(tiny_folders["llama"]), quantisation="3bit")
    with pytest.raises(UsageError, match="dtype"):
        open_model(str(tiny_folders["llama"]), dtype="int8")


@pytest.mark.parametrize("holds", [(), ("_is_avx512_bf16_supported",), ("_is_amx_tile_supported",)])
def test_the_default_dtype_is_one_that_the_processor_has(
    holds: tuple[str, ...], tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda given=check: given in holds)
    assert default_dtype(torch.device("cpu")) == (torch.bfloat16 if holds else torch.float32)
    assert default_dtype(torch.device("mps")) == torch.float32
    said: list[str] = []
    monkeypatch.setattr(loading, "note", said.append)
    open_model(str(tiny_folders["llama"]), dtype="bfloat16")
    assert any("float32, which is the default here" in text for text in said) == (not holds)


def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    one, other = (save_model("llama", tmp_path / str(seed), seed=seed) for seed in (0, 1))
    digests = [open_model(str(folder), dtype="float32").digest for folder in (one, one, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_bridge_that_is_reset_inside_the_block_is_as_it_was_after_it(llama: Subject) -> None:
    before = llama.logits(llama.batch([[5, 6, 7]]))
    with llama.hooked([(Site(1, "resid_pre"), lambda acts, hook: acts + 1)]):
        llama.bridge.reset_hooks()
    assert llama.bridge.list_hooks() == {}
    assert torch.equal(llama.logits(llama.batch([[5, 6, 7]])), before)
