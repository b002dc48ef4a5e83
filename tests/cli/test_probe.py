"""workbench probe, on a tiny model."""

import json
from pathlib import Path

import torch

from probes.linear import Probe
from tests.cli.conftest import Run
from workbench.cli.evaluate import more_metrics
from workbench.cli.recipes import Names
from workbench.directions import load_asset

QUICK = ("--n", 20, "--folds", 3, "--dtype", "float32")


def test_train_writes_a_probe_and_what_was_measured_of_it(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    options = ("probe", "train", model, *QUICK, "--site", "1.resid_post", "--method", "mass-mean", "--out", out)
    status, printed, err = run(*options, "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert (results["site"], results["position"], results["method"], results["n"]) == (
        "1.resid_post", -1, "mass-mean", [20, 20],
    )  # fmt: skip
    assert set(results["quality"]["controls"]) == {
        "shuffled labels", "random features", "random direction", "length", "first token", "words",
    }  # fmt: skip
    assert json.loads((out / "probe.json").read_text())["quality"] == results["quality"]
    found = load_asset(out / "probe.safetensors")
    assert found.digest == results["digest"]
    assert found.direction().unit.shape == torch.Size([32])  # type: ignore[attr-defined]
    status, printed, err = run(*options)
    assert "this probe" in printed


def test_a_trained_probe_is_edited_by_gated_on_and_read_by_the_ledger(run: Run, model: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "probe", tmp_path / "other.txt"
    status, _, err = run("probe", "train", model, *QUICK, "--method", "ridge", "--out", out, "--json")
    assert status == 0, err
    recipe = "ablate(p) @ 2.resid_post if coordinate(p) > 0.5 on last"
    options = ("--dtype", "float32", "--prompt", "Hello.", "--max-new-tokens", 2, "--recipe", recipe, "--json")
    status, printed, err = run("generate", model, "--direction", f"p={out}", *options)
    assert status == 0, err
    assert json.loads(printed)["recipe"].startswith("ablate(p) @ 2.resid_post if coordinate(p) > 0.5")
    (ledger,) = more_metrics(Names.of([f"p={out}"]), None)
    assert [each.digest for _, each in ledger.directions] == [Probe.load(out).direction().digest]  # type: ignore[attr-defined]
    other.write_text("no direction")
    status, _, err = run("generate", model, "--direction", f"p={other}", *options)
    assert status != 0


def test_sweep_writes_its_table_and_its_map(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    options = ("probe", "sweep", model, *QUICK, "--positions", "-2,-1", "--out", out)
    status, printed, err = run(*options, "--json")
    results = json.loads(printed)
    assert status == 0, err
    assert len(results["rows"]) == 3 * 3 * 2
    assert json.loads((out / "sweep.json").read_text())["rows"] == results["rows"]
    assert sorted(file.name for file in out.iterdir()) == ["sweep.html", "sweep.json"]
    locked = ("--report-harmful", "harmful:test", "--report-harmless", "harmless:test")
    status, printed, err = run("probe", "sweep", model, *QUICK, "--positions", "-1", *locked)
    assert status == 0, err
    assert "on prompts apart (n=" in " ".join(printed.split())


def test_probe_says_what_is_wrong_in_one_sentence(run: Run, model: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("One request.\nAnother wish.\n")
    status, _, err = run("probe", "train", model, "--harmful", few, *QUICK)
    assert status == 2
    assert "workbench: 3 folds need as many prompts of a class and as many topics; there are 2 positive and" in err
    for options, said in (
        (("train", model, "--method", "magic"), "There is no probe method called 'magic'; there are: lda, logistic"),
        (("train", model, "--harmful", "harmful:test"), "locked"),
        (("train", model, "--site", "9.resid_post"), "No site 9.resid_post"),
        (("sweep", model, "--report-harmful", "harmful:test"), "Give both --report-harmful and --report-harmless"),
    ):
        status, _, err = run("probe", *options, "--dtype", "float32", "--n", 20)
        assert status == 2, err
        assert said in err
