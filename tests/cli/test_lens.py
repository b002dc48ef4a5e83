"""workbench lens, on a tiny model."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

SET_FIGURES, MAP_FIGURES = {"log-odds", "kl"}, {"tokens", "chosen"}


@pytest.fixture
def sides(tmp_path: Path) -> tuple[object, ...]:
    for name, mark in (("harmful", "!"), ("harmless", "?")):
        (tmp_path / f"{name}.txt").write_text("".join(f"Do thing {i} {mark}\n" for i in range(6)))
    return "--harmful", tmp_path / "harmful.txt", "--harmless", tmp_path / "harmless.txt"


def test_lens_of_a_prompt_writes_its_map(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "lens"
    options = ("lens", model, "--prompt", "Hello [b]you[/b]", "--token", "I", "--token", "S", "--last", 6, "--out", out)
    status, printed, err = run(*options, "--dtype", "float32", "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert (results["lens"], results["what"], results["tokens"]) == ("logit", "prompt", {"I": ["I"], "S": ["S"]})
    assert len(results["rows"]) == 6 * 4 * 2
    assert json.loads((out / "lens.json").read_text())["rows"] == results["rows"]
    assert {file.stem for file in out.glob("*.html")} == MAP_FIGURES
    status, printed, err = run(*options[:-2], "--dtype", "float32")
    assert "The logit lens" in printed
    assert "log-odds of I" in " ".join(printed.split())


def test_lens_of_sets_tells_each_layer_with_its_interval(
    run: Run, model: Path, tmp_path: Path, sides: tuple[object, ...]
) -> None:
    out = tmp_path / "lens"
    options = ("lens", model, *sides, "--token", "I", "--n", 4, "--dtype", "float32", "--out", out)
    status, printed, err = run(*options, "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert {(row["side"], row["n"]) for row in results["rows"]} == {("harmful", 4), ("harmless", 4)}
    assert all(row["low"] <= row["value"] <= row["high"] for row in results["rows"])
    assert {file.stem for file in out.glob("*.html")} == SET_FIGURES
    assert "harmful (n=4)" in " ".join(run(*options)[1].split())


def test_lens_compares_two_recipes(
    run: Run, model: Path, direction: Path, tmp_path: Path, sides: tuple[object, ...]
) -> None:
    start = ("lens", model, "--token", "I", "--dtype", "float32")
    edit = ("--direction", direction, "--ablate")
    status, printed, err = run(*start, *edit, "--prompt", "Hello", "--out", tmp_path / "map", "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert results["against"] == "nothing"
    assert "ablate(d)" in results["recipe"]
    assert any(row["difference"] for row in results["rows"])
    assert {file.stem for file in (tmp_path / "map").glob("*.html")} == MAP_FIGURES | {"tokens-after", "difference"}
    same = ("--recipe", "ablate(d) @ all", "--against", "ablate(d) @ all", "--direction", direction)
    status, printed, err = run(*start, *same, *sides, "--n", 4, "--out", tmp_path / "sets", "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert results["recipe"] == results["against"] != "nothing"
    assert {row["value"] for row in results["rows"]} == {0.0}
    assert {file.stem for file in (tmp_path / "sets").glob("*.html")} == SET_FIGURES | {"difference"}
    for said, options in (
        ("top after", ("--prompt", "Hello")),
        ("harmful (n=4)", (*sides, "--n", 4)),
    ):
        status, printed, err = run(*start, *edit, *options)
        assert said in " ".join(printed.split()), err


def test_lens_says_what_is_wrong_in_one_sentence(run: Run, model: Path, tmp_path: Path) -> None:
    for options, said in (
        (("--lens", "magic"), "There is no lens called 'magic'; there are:"),
        (("--token", "Sorry"), "is 5 tokens of"),
        (("--against", "nothing"), "give that one with --recipe"),
        (("--fitted", tmp_path / "none"), "There is no lens at"),
        (("--ablate",), "need --direction"),
    ):
        status, _, err = run("lens", model, "--prompt", "Hello", "--dtype", "float32", "--token", "I", *options)
        assert status == 2, err
        assert said in " ".join(err.split()), err


@pytest.mark.parametrize("lens", ["tuned", "jacobian"])
def test_a_lens_that_learns_is_fitted_once_measured_and_kept(
    lens: str, run: Run, model: Path, tmp_path: Path, sides: tuple[object, ...]
) -> None:
    for name, start in (("taught", 0), ("held", 20)):
        (tmp_path / f"{name}.txt").write_text("".join(f"Tell me of {i * i} things\n" for i in range(start, start + 9)))
    sets = ("--fit-on", tmp_path / "taught.txt", "--held-out", tmp_path / "held.txt")
    start, out = (
        ("lens", model, "--lens", lens, "--token", "I", "--dtype", "float32", "--prompt", "Hello"),
        tmp_path / "o",
    )
    status, printed, err = run(*start, *sets, "--out", out, "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert {f"{lens} lens", "logit lens"} <= set(results["quality"]["kl"])
    assert results["quality"]["kl"]["logit lens"][0]["n"] == 9
    assert (out / "quality.html").exists()
    status, printed, err = run(*start, *sets, "--json")
    assert "was fitted before" in err
    assert json.loads(printed)["rows"] == results["rows"]
    status, printed, err = run(*start[:2], *start[4:], "--fitted", out, "--json")
    assert status == 0, err
    assert (json.loads(printed)["lens"], json.loads(printed)["lens_digest"]) == (lens, results["lens_digest"])
    status, printed, err = run(*start, "--fit-on", "harmful:test")
    assert (status, "locked" in err) == (2, True)
