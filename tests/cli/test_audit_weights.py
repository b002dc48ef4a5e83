"""`workbench audit-weights`: what it prints, as JSON and for a person, and how it fails."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.weights.checkpoints import ablated, adapter, copied, edited, noise
from workbench.directions import Direction


@pytest.fixture
def suspect(model: Path, direction: Path, tmp_path: Path) -> str:
    """The model with half of the direction taken out of everything that writes."""
    unit = Direction.load(direction).unit
    return edited(model, tmp_path / "suspect", lambda _: ablated(unit, 0.5))


def test_an_edited_checkpoint_is_told_as_one_document(run: Run, model: Path, suspect: str, direction: Path) -> None:
    status, out, err = run("audit-weights", suspect, "--base", model, "--direction", direction, "--json")
    said = json.loads(out)
    assert (status, said["verdict"]) == (0, "edited along one direction"), err
    assert said["doses"]["all"]["value"] == pytest.approx(0.5, abs=0.01)
    assert said["doses"]["all"]["n"] == 7
    assert said["likeness"]["cosine"] > 0.999 > said["likeness"]["chance"]
    assert len(said["tensors"]) == 30
    assert all({"value", "low", "high", "n"} <= rate.keys() for rate in said["false_positives"].values())
    assert "Comparing tensors" in err


def test_a_person_reads_the_verdict_the_dose_and_how_often_it_is_wrong(
    run: Run, model: Path, suspect: str, direction: Path
) -> None:
    status, out, _ = run("audit-weights", suspect, "--base", model, "--direction", direction)
    flat = " ".join(out.split())
    assert status == 0
    assert flat.startswith("suspect: edited along one direction. 7 of 30 tensors changed. Dose 0.500 [0.500, 0.500]")
    assert "Unedited checkpoints that are called edited:" in flat
    assert "95 of 100 random directions have less than" in flat
    assert "(cosine at least 0.95) in 100.0% [64.6%, 100.0%] of 7 matrices." in flat
    assert "attn_out" in flat


def test_other_verdicts_are_told_without_a_dose(run: Run, model: Path, tmp_path: Path) -> None:
    for name, change, says in (
        ("noisy", noise(0.02), "finetuned"),
        ("adapted", adapter(2, 0.1), "low-rank change"),
        ("same", lambda _: None, "unchanged"),
    ):
        folder = copied(model, tmp_path / name, change)
        status, out, _ = run("audit-weights", folder, "--base", model)
        assert status == 0
        assert f"{name}: {says}." in out
        assert "Dose" not in out
    assert "A rank of at most 2 explains" in run("audit-weights", tmp_path / "adapted", "--base", model)[1]


def test_the_figure_is_a_file(run: Run, model: Path, suspect: str, tmp_path: Path) -> None:
    figure = tmp_path / "figure.html"
    status, out, _ = run("audit-weights", suspect, "--base", model, "--out", figure, "--json")
    assert (status, json.loads(out)["figure"]) == (0, str(figure))
    assert "dose along what was found" in figure.read_text()


def test_bad_input_is_one_sentence(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, status, says in (
        ((tmp_path / "none", "--base", model), 2, "is neither a catalog name"),
        ((empty, "--base", model), 1, "has no config.json"),
        ((model, "--base", empty), 1, "has no config.json"),
        ((model, "--base", model, "--direction", tmp_path / "d"), 2, "There is no direction"),
        ((model,), 2, "--base"),
    ):
        ended, out, err = run("audit-weights", *arguments)
        assert (ended, out) == (status, ""), err
        assert says in err
        assert "Traceback" not in err
