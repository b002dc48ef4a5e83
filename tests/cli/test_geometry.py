"""workbench geometry, on a tiny model."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_geometry_writes_its_table_and_figures(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "shape"
    options = ("geometry", model, "--n", 10, "--position", -2, "--dtype", "float32", "--out", out)
    status, printed, err = run(*options, "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert (results["n"], results["position"]) == ([10, 10], -2)
    assert {row["layer"] for row in results["rows"]} == {0, 1, 2}
    assert json.loads((out / "geometry.json").read_text())["rows"] == results["rows"]
    assert sorted(file.name for file in out.iterdir()) == ["geometry.html", "geometry.json", "planes.html"]
    assert "n=10 and 10" in run(*options)[1]


@pytest.mark.long
def test_geometry_names_a_directions_tokens_and_lays_planes_by_another_method(
    run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shape"
    options = ("--plane", "umap", "--direction", direction, "--out", out, "--json")
    status, printed, err = run("geometry", model, "--n", 10, "--dtype", "float32", *options)
    results = json.loads(printed)
    assert status == 0, err
    assert [row["matrix"] for row in results["tokens"]] == ["embedding"] * 20 + ["unembedding"] * 20
    assert (out / "tokens.html").is_file()
    assert "umap, layer 0" in (out / "planes.html").read_text()
    status, _, err = run("geometry", model, "--n", 10, "--dtype", "float32", "--plane", "magic", "--out", out)
    assert (status, "There is no plane called 'magic'; there are: pacmap, pca, umap" in err) == (2, True)


def test_geometry_says_what_is_wrong_in_one_sentence(run: Run, model: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("One request.\nAnother request.\n")
    status, _, err = run("geometry", model, "--harmful", few, "--n", 10, "--dtype", "float32")
    assert status == 1
    assert err.endswith(
        "workbench: There are 2 positive and 10 negative prompts, too few prompts; give at least 8 of either.\n"
    )
    status, _, err = run("geometry", model, "--harmful", "harmful:test", "--n", 10, "--dtype", "float32")
    assert (status, "locked" in err) == (2, True)
