"""workbench patch, on a tiny model."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

FIGURES = {
    "attribution": {"parts", "heads"}, "activation": {"map"}, "heads": {"heads", "map", "patterns"},
    "first-order": {"map"}, "path": {"path", "map"},
}  # fmt: skip


@pytest.fixture
def sides(tmp_path: Path) -> tuple[object, ...]:
    for name, mark in (("harmful", "!"), ("harmless", "?")):
        (tmp_path / f"{name}.txt").write_text("".join(f"Do thing {i} {mark}\n" for i in range(6)))
    return "--harmful", tmp_path / "harmful.txt", "--harmless", tmp_path / "harmless.txt"


@pytest.mark.parametrize("what", list(FIGURES))
def test_patch_writes_its_table_and_figures(
    what: str, run: Run, model: Path, tmp_path: Path, sides: tuple[object, ...]
) -> None:
    out = tmp_path / "patched"
    tokens = ("--refusal-token", "I", "--compliance-token", "S")
    options = ("patch", model, "--what", what, *sides, *tokens, "--n", 4, "--dtype", "float32", "--out", out)
    status, printed, err = run(*options, "--json")
    assert status == 0, err
    results = json.loads(printed)
    assert (results["what"], results["refusal_tokens"]) == (what, ["I"])
    assert results["rows"]
    assert json.loads((out / "patch.json").read_text())["rows"] == results["rows"]
    assert {file.stem for file in out.glob("*.html")} == FIGURES[what]
    assert "Refusals begin with 'I'" in run(*options)[1]


def test_patch_says_what_is_wrong_in_one_sentence(
    run: Run, model: Path, tmp_path: Path, sides: tuple[object, ...]
) -> None:
    one = tmp_path / "one.txt"
    one.write_text("One request.\n")
    start = ("patch", model, "--refusal-token", "I", "--dtype", "float32")
    status, _, err = run(*start, "--what", "activation", "--harmful", one, *sides[2:])
    assert (status, "needs at least 2 prompts" in err) == (2, True)
    status, _, err = run(*start, "--what", "activation", *sides, "--into", "neither")
    assert (status, "not of 'neither'" in err) == (2, True)
    for options in (("--what", "heads", "--layers", "1-2"), ("--what", "attribution", "--into", "harmless")):
        status, _, err = run(*start, *options, *sides)
        assert (status, f"takes no {options[2]}; it is for activation" in err) == (2, True)
    status, _, err = run(*start, "--what", "path", "--harmful", "harmful:test", *sides[2:])
    assert (status, "locked" in err) == (2, True)
