"""The certificate: a fresh process, figures that can be checked by hand, and exports that are not the edit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import random_direction
from tests.tiny import save_model
from tests.weights.again import ablated, halved, in_this_process, rewrite, written
from workbench.errors import ModelError
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject, open_model
from workbench.prompts import Prompts
from workbench.weights import Certificate, Export, Orthogonalise, PreserveColumns, WeightEdit
from workbench.weights.certificates import fresh
from workbench.weights.certificates.agreement import Agreement, Comparing
from workbench.weights.certificates.certificate import certify
from workbench.weights.certificates.rounding import rounded_anew
from workbench.weights.certificates.rows import LONGEST, certificate_prompts, certificate_rows
from workbench.weights.exports.hf import HuggingFace
from workbench.weights.exports.lora import Lora
from workbench.weights.exports.recipe import RecipeFile

__all__ = ["in_this_process"]
PROMPTS = Prompts.of(["Tell me a story.", "Why?"], name="two")


def certified(
    form: Export, subject: Subject, recipe: Recipe, folder: Path, edit: WeightEdit | None = None
) -> Certificate:
    """The certificate of a folder that was written before."""
    (folder.parent / "scratch").mkdir()
    return certify(subject, recipe, form, edit or Orthogonalise(), folder, PROMPTS, folder.parent / "scratch")


@pytest.mark.parametrize(("form", "by"), [(HuggingFace(), "transformers"), (Lora(), "peft")])
def test_a_fresh_process_agrees_with_the_hooks(form: Export, by: str, llama: Subject, tmp_path: Path) -> None:
    recipe = ablated(llama)
    found = certified(form, llama, recipe, written(form, llama, recipe, tmp_path / "out"))
    found.require(recipe)
    assert found.export.max_difference <= 1e-4 < 0.1 < found.unedited.max_difference
    assert found.export.equal_argmax == 1.0
    assert (found.reloaded_by, by in found.versions) == (by, True)
    assert found.recipe["digest"] == recipe.digest
    assert found.model["digest"] == llama.digest
    assert not list((tmp_path / "scratch").glob("*.safetensors"))
    assert json.loads(json.dumps(found.to_json()))["tolerance"] == {"max_difference": 1e-4}


def test_the_fresh_process_loads_nothing_of_ours(llama: Subject, tmp_path: Path) -> None:
    request = {
        "model": str(llama.folder), "adapter": "", "dtype": "float32", "device": "cpu", "out": str(tmp_path),
        "rows": [{"tokens": [1, 2, 3], "new": 1}],
    }  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(request))
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'workbench', 'transformer_lens', 'typer'}))"
    )
    command = [sys.executable, "-P", "-c", code, str(fresh._SCRIPT), str(tmp_path / "request.json")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(said[1]) == {"row": 0}
    assert said[-1] == "[]"


@pytest.mark.usefixtures("in_this_process")
def test_preserved_norms_are_held_against_the_live_weights(llama: Subject, tmp_path: Path) -> None:
    recipe, edit = ablated(llama), PreserveColumns()
    folder = written(HuggingFace(), llama, recipe, tmp_path / "out", edit)
    found = certified(HuggingFace(), llama, recipe, folder, edit)
    found.require(recipe)
    assert (found.weight_edit, found.reference) == ("preserve-columns", "the model with edited weights")


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("form", [HuggingFace(), Lora()])
def test_one_tensor_with_the_sign_of_another_edit_is_seen(form: Export, llama: Subject, tmp_path: Path) -> None:
    folder = written(form, llama, halved(llama), tmp_path / "out")
    file = next(folder.glob("*.safetensors"))

    def flipped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = next(name for name in tensors if "2.mlp.down_proj" in name)
        return tensors | {name: -tensors[name]}

    rewrite(folder, flipped)
    if file.name != "model.safetensors":
        (folder / "model.safetensors").replace(file)
    found = certified(form, llama, halved(llama), folder)
    with pytest.raises(ModelError, match=r"is not the live edit: max_difference .* allowed 0.0001"):
        found.require(halved(llama))


@pytest.mark.usefixtures("in_this_process")
def test_an_adapter_on_another_base_is_another_edit(
    llama: Subject, tmp_path: Path, tiny_subjects: dict[str, Subject]
) -> None:
    adapter = written(Lora(), llama, ablated(llama), tmp_path / "out")
    other = open_model(str(save_model("llama", tmp_path / "other", seed=1)), dtype="float32")
    recipe = Ablate(replace(random_direction(llama), model_digest=other.digest)).at("all")
    with pytest.raises(ModelError, match="is not the live edit"):
        certified(Lora(), other, recipe, adapter).require(recipe)


def test_an_adapter_that_does_not_fit_says_so(tiny_subjects: dict[str, Subject], tmp_path: Path) -> None:
    adapter = written(Lora(), tiny_subjects["llama"], ablated(tiny_subjects["llama"]), tmp_path / "out")
    gpt2 = tiny_subjects["gpt2"]
    with pytest.raises(ModelError, match=r"cannot be opened by plain peft: .* Nothing was kept"):
        certified(Lora(), gpt2, ablated(gpt2), adapter)


@pytest.mark.usefixtures("in_this_process")
def test_an_adapter_of_which_a_part_is_not_used_is_none(llama: Subject, tmp_path: Path) -> None:
    adapter = written(Lora(), llama, ablated(llama), tmp_path / "out")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["target_modules"].remove("model.layers.0.mlp.down_proj")
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"peft uses other parts.*layers\.0\.mlp\.down_proj"):
        certified(Lora(), llama, ablated(llama), adapter)


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_that_lacks_a_weight_is_not_opened(llama: Subject, tmp_path: Path) -> None:
    folder = written(HuggingFace(), llama, ablated(llama), tmp_path / "out")
    rewrite(folder, lambda tensors: {name: each for name, each in tensors.items() if name != "lm_head.weight"})
    with pytest.raises(ModelError, match=r"missing keys: \['lm_head.weight'\]"):
        certified(HuggingFace(), llama, ablated(llama), folder)


def test_a_recipe_is_read_back_and_run(llama: Subject, tmp_path: Path) -> None:
    recipe = Add(random_direction(llama)).at(1, "generated") + Add(random_direction(llama, 1)).at(2, "first 3")
    folder = written(RecipeFile(), llama, recipe, tmp_path / "out")
    found = certified(RecipeFile(), llama, recipe, folder)
    found.require(recipe)
    assert found.export.max_difference == 0.0
    assert RecipeFile().read_back(llama, folder).digest == recipe.digest
    assert found.reloaded_by == "the workbench, as hooks"


def test_what_acts_in_replies_alone_need_not_show_on_prompts(llama: Subject, tmp_path: Path) -> None:
    recipe = Add(random_direction(llama)).at(1, "generated")
    found = certified(RecipeFile(), llama, recipe, written(RecipeFile(), llama, recipe, tmp_path / "out"))
    assert found.unedited.max_difference == 0.0
    found.require(recipe)


@pytest.mark.usefixtures("in_this_process")
def test_logits_that_are_no_numbers_agree_with_nothing(llama: Subject, tmp_path: Path) -> None:
    huge = Add(replace(random_direction(llama), scale=1e38), strength=50.0).at(1, "last")
    found = certified(RecipeFile(), llama, huge, written(RecipeFile(), llama, huge, tmp_path / "out"))
    with pytest.raises(ModelError, match="max_difference inf"):
        found.require(huge)


@pytest.mark.usefixtures("in_this_process")
def test_an_export_that_is_as_near_to_the_unedited_model_is_none(llama: Subject, tmp_path: Path) -> None:
    faint = Ablate(random_direction(llama), strength=1e-9).at(["attn_out"])
    found = certified(HuggingFace(), llama, faint, written(HuggingFace(), llama, faint, tmp_path / "out"))
    assert found.export.max_difference < 1e-5
    with pytest.raises(ModelError, match="the unedited model is as near"):
        found.require(faint)
    found.require(Recipe())


class TestFigures:
    """Numbers that can be derived in another way."""

    want = torch.tensor([[1.0, 2.0, 4.0], [3.0, 3.5, 0.0]])
    got = torch.tensor([[1.0, 2.5, 4.0], [4.0, 3.5, 0.0]])

    def of(self, want: torch.Tensor, got: torch.Tensor, dtype: torch.dtype = torch.float32) -> Agreement:
        total = Comparing(dtype)
        total.add(want, got)
        return total.found()

    def test_differences_are_over_all_positions_and_tokens(self) -> None:
        found = self.of(self.want, self.got)
        assert (found.positions, found.max_difference) == (2, 1.0)
        assert found.mean_difference == pytest.approx(1.5 / 6)
        assert found.equal_argmax == found.same_token == 0.5

    def test_kl_is_torchs(self) -> None:
        logs, others = self.want.log_softmax(1), self.got.log_softmax(1)
        expected = torch.nn.functional.kl_div(others, logs, log_target=True, reduction="batchmean")
        assert self.of(self.want, self.got).mean_kl == pytest.approx(float(expected), rel=1e-5)

    def test_rows_add_up(self) -> None:
        total = Comparing(torch.float32)
        for want, got in zip(self.want.split(1), self.got.split(1), strict=True):
            total.add(want, got)
        whole = self.of(self.want, self.got)
        assert vars(total.found()) == pytest.approx(vars(whole), rel=1e-6)

    def test_what_is_not_a_number_is_beyond_every_limit(self) -> None:
        found = self.of(self.want, self.got * torch.nan)
        assert found.beyond({"max_difference": 1e9}) == ["max_difference inf, allowed 1e+09"]
        assert found.beyond({"mean_kl": 1e9})

    def test_tokens_within_one_rounding_have_no_order(self) -> None:
        want, got = torch.tensor([[20.0, 20.125, 0.0]]), torch.tensor([[20.125, 20.0, 0.0]])
        assert self.of(want, got, torch.bfloat16).same_token == 1.0
        assert self.of(want, got, torch.bfloat16).equal_argmax == 0.0
        assert self.of(want, got, torch.float32).same_token == 0.0
        assert self.of(want + torch.tensor([0.0, 0.125, 0.0]), got + 0.125, torch.bfloat16).same_token == 1.0
        far, away = torch.tensor([[20.0, 20.25, 0.0]]), torch.tensor([[20.25, 20.0, 0.0]])
        assert self.of(far, away, torch.bfloat16).same_token == 0.0

    def test_equal_logits_share_the_first_place(self) -> None:
        found = self.of(torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]]))
        assert found.equal_argmax == 1.0

    def test_what_one_more_rounding_does_is_allowed(self) -> None:
        near, far = (self.of(self.want, self.want + apart) for apart in (1e-6, 1e-2))
        assert near.tolerance(torch.float32) == {"max_difference": 1e-4}
        assert far.tolerance(torch.float32) == {"max_difference": pytest.approx(3e-2, rel=1e-3)}
        apart = self.of(self.want, self.got)
        assert near.tolerance(torch.bfloat16) == {"same_token": 0.99, "mean_kl": 1e-3}
        assert apart.tolerance(torch.bfloat16) == {"same_token": 0.5, "mean_kl": 2 * apart.mean_kl}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_more_rounding_is_one_of_its_dtype(dtype: str, tiny_folders: dict[str, Path]) -> None:
    subject = open_model(str(tiny_folders["llama"]), dtype=dtype)
    batch = subject.batch([[5, 6, 7, 8, 9, 10]])
    plain = subject.logits(batch)
    with rounded_anew(subject):
        moved = float((subject.logits(batch) - plain).abs().max() / plain.abs().max())
    assert 0 < moved < 16 * torch.finfo(subject.dtype).eps
    assert torch.equal(subject.logits(batch), plain)


class TestRows:
    """What logits are compared on."""

    def test_what_prompts_begin_with_is_compared_once(self, llama: Subject) -> None:
        texts = ["abcd", "abxy", "abcd", "q"]
        rows = certificate_rows(llama, Prompts.of(texts))
        begin = llama.tokenizer("<|user|>ab")["input_ids"]
        assert [row.new for row in rows] == [0, len(begin), len(begin) - 2]
        assert rows[1].tokens[: rows[1].new] == tuple(begin)

    def test_long_prompts_are_cut(self, llama: Subject) -> None:
        (row,) = certificate_rows(llama, Prompts.of(["a" * 500]))
        assert len(row.tokens) == LONGEST

    def test_a_model_without_a_template_reads_bare_text(self, tmp_path: Path) -> None:
        subject = open_model(str(save_model("llama", tmp_path / "bare", template=None)), dtype="float32")
        (row,) = certificate_rows(subject, Prompts.of(["abc"]))
        assert subject.tokenizer.decode(row.tokens) == "abc"

    def test_both_sides_of_the_validation_part_are_asked(self) -> None:
        labels = [prompt.label for prompt in certificate_prompts()]
        assert {label: labels.count(label) for label in labels} == {"harmful": 8, "harmless": 8}


def test_a_process_that_ends_early_is_an_error(llama: Subject, tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "short.py"
    script.write_text("print('{\"versions\": {}}')")
    monkeypatch.setattr(fresh, "_SCRIPT", script)
    with pytest.raises(ModelError, match="ended with status 0"):
        fresh.reloaded(llama, certificate_rows(llama, PROMPTS), tmp_path, model=llama.folder)
