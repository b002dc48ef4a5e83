"""`workbench export`: what it writes and prints, and how it fails."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.tiny import save_model
from workbench.interventions import Recipe

QUICK = ("--prompts", "harmful:val")


@pytest.mark.parametrize("form", ["hf", "lora"])
def test_an_ablation_is_exported_with_its_certificate(
    form: str, run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    options = ("--direction", direction, "--ablate", "--dtype", "float32", "--format", form, "--out", tmp_path / "out")
    status, out, err = run("export", model, *options, "--json")
    said = json.loads(out)
    assert status == 0, err
    assert said["path"] == str(tmp_path / "out")
    assert said["pushed"] is None
    assert said["certificate"]["format"] == form
    assert said["certificate"]["prompts"]["n"] == 16
    assert said["certificate"]["export"]["max_difference"] <= said["certificate"]["tolerance"]["max_difference"]
    assert set(said["files"]) | {"SHA256SUMS"} == {
        file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*") if file.is_file()
    }
    assert "Comparing the export" in err


def test_a_recipe_is_shown_to_a_person(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    options = ("--recipe", f'add("{direction}") @ 1 [generated]', "--format", "recipe", *QUICK)
    status, out, _ = run("export", model, *options, "--dtype", "float32", "--out", tmp_path / "out")
    assert status == 0
    assert "mean kl" in out
    assert "The recipe export is in" in out
    status, out, err = run("generate", model, "--recipe", tmp_path / "out", "--prompt", "Hi", "--max-new-tokens", 2)
    assert status == 0, err


def test_a_control_vector_is_exported(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    options = ("--recipe", f'add("{direction}") @ 2', "--format", "gguf", *QUICK, "--dtype", "float32", "--json")
    status, out, err = run("export", model, *options, "--out", tmp_path / "out")
    assert status == 0, err
    assert "control_vector.gguf" in json.loads(out)["files"]
    assert len(Recipe.load(tmp_path / "out" / "recipe" / "recipe.json")) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "There is nothing to export"),
        (("--recipe", 'add("{d}") @ 2'), "1.mlp_out of llama has no bias"),
        (("--recipe", 'ablate("{d}") @ all [generated]'), "weights act on every token"),
        (("--recipe", '0.5 * ablate("{d}") @ all'), "place it on embed, attn_out and mlp_out"),
        (("--direction", "{d}", "--ablate", "--format", "zip"), "There is no export format called 'zip'"),
        (("--direction", "{d}", "--ablate", "--weight-edit", "bend"), "There is no weight edit called 'bend'"),
        (("--direction", "{d}", "--ablate", "--format", "lora", "--weight-edit", "preserve-rows"), "export hf"),
        (("--direction", "{d}", "--ablate", "--format", "gguf"), "a control vector can add and nothing else"),
        (("--direction", "{d}", "--ablate", "--push", "owner/name"), "HF_HUB_OFFLINE is set"),
    ],
)
def test_wrong_use_is_one_sentence_and_nothing_is_written(
    options: tuple[str, ...], sentence: str, run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    given = [option.format(d=direction) for option in options]
    status, out, err = run("export", model, *given, "--dtype", "float32", "--out", tmp_path / "out", "--json")
    assert (status, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "out").exists()


def test_a_taken_place_is_wrong_use(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").write_text("theirs")
    options = ("--direction", direction, "--ablate", "--dtype", "float32", "--out", tmp_path / "out")
    status, out, err = run("export", model, *options)
    assert (status, out) == (2, "")
    assert "is not empty" in err


def test_a_quantised_folder_fails(run: Run, direction: Path, tmp_path: Path) -> None:
    model = save_model("llama", tmp_path / "llama")
    config = json.loads((model / "config.json").read_text())
    options = ("--direction", direction, "--ablate", "--dtype", "float32", "--out", tmp_path / "out")
    # transformers itself asks for packages to read such a folder; either way it is one sentence.
    (model / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    status, out, err = run("export", model, *options)
    assert (status, out) == (1, "")
    assert err.count("workbench: ") == 1
