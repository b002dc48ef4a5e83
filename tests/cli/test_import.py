"""workbench import: what others made, written so that the other commands take it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run
from tests.conftest import random_direction
from workbench.directions import Direction
from workbench.interventions import Add
from workbench.models import Subject
from workbench.weights import ControlVector

OPTIONS = ("--max-new-tokens", 6, "--dtype", "float32", "--json")


def said(run: Run, model: Path, *options: object) -> str:
    status, out, err = run("generate", model, "--prompt", "Hello", *OPTIONS, *options)
    assert status == 0, err
    return str(json.loads(out)["replies"][0]["reply"])


@pytest.fixture
def vector(llama: Subject, tmp_path: Path) -> Path:
    shift = Add(random_direction(llama), 2.0).linear().shift
    return ControlVector({1: shift}, "llama").write(tmp_path / "v.gguf")


def test_a_control_vector_is_a_recipe_that_generate_takes(
    run: Run, model: Path, vector: Path, direction: Path, tmp_path: Path
) -> None:
    out = tmp_path / "imported"
    status, text, err = run("import", vector, "--model", model, "--out", out, "--dtype", "float32", "--json")
    found = json.loads(text)
    assert (status, found["files"]) == (0, ["recipe.json"]), err
    assert found["is"] == "a control vector made for 'llama', at the outputs of the blocks 1"
    assert found["recipe"].endswith("@ 1.resid_post")
    same = said(run, model, "--direction", direction, "--recipe", "2 * add(d) @ 2.resid_pre")
    assert said(run, model, "--recipe", out) == same
    assert said(run, model, "--recipe", out / "recipe.json") == same
    assert said(run, model) != same


def test_a_vector_is_a_direction_that_generate_takes(run: Run, model: Path, llama: Subject, tmp_path: Path) -> None:
    values = 4.0 * random_direction(llama).unit
    np.save(tmp_path / "v.npy", values.numpy())
    out = tmp_path / "imported"
    call = ("import", tmp_path / "v.npy", "--model", model, "--out", out, "--dtype", "float32", "--site", "1.resid_pre")
    status, text, err = run(*call, "--json")
    assert status == 0, err
    (told,) = json.loads(text)["directions"]
    assert told == {"file": "direction.safetensors", "site": "1.resid_pre", "scale": pytest.approx(4.0)}
    assert torch.allclose(Direction.load(out / "direction.safetensors").unit, random_direction(llama).unit)
    steered = said(run, model, "--direction", out / "direction.safetensors", "--add", 2.0)
    assert steered == said(run, model, "--direction", out, "--add", 2.0)
    assert steered != said(run, model)


def test_a_vector_of_each_layer_is_a_file_of_each(run: Run, model: Path, llama: Subject, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((llama.n_layers, llama.d_model), dtype=np.float32))
    call = ("import", tmp_path / "v.npy", "--model", model, "--out", tmp_path / "out", "--site", "mlp_out")
    status, out, err = run(*call)
    assert status == 0, err
    assert "vectors of 3 layers" in " ".join(out.split())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0.mlp_out.safetensors", "1.mlp_out.safetensors", "2.mlp_out.safetensors",
    ]  # fmt: skip
    said(run, model, "--direction", tmp_path / "out" / "1.mlp_out.safetensors", "--add", 1.0)


def test_a_person_is_told_what_it_is_and_what_it_does(run: Run, model: Path, vector: Path, tmp_path: Path) -> None:
    status, out, _ = run("import", vector, "--model", model, "--out", tmp_path / "imported")
    assert status == 0
    assert "a control vector made for 'llama'" in " ".join(out.split())
    assert "@ 1.resid_post" in out


def test_what_is_there_is_left_as_it_is(run: Run, model: Path, vector: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("import", vector, "--model", model, "--out", tmp_path / "empty")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "empty").iterdir()}
    for out in (tmp_path / "empty", vector):
        status, text, err = run("import", vector, "--model", model, "--out", out)
        assert (status, text) == (2, "")
        assert "is there already" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "empty").iterdir()} == before


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"GGUF", (), "is not a control vector, or is damaged"),
        (b"PK\x03\x04", (), "a pickle runs code"),
        (b"GGUF", ("--site", "1.resid_pre"), "leave out --site"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence_and_leaves_nothing(
    run: Run, model: Path, content: bytes, options: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(content)
    status, out, err = run("import", tmp_path / "source", "--model", model, "--out", tmp_path / "out", *options)
    assert (status, out) == (2, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
