"""`workbench evaluate --suite full`, and what it leaves behind, from the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import random_direction
from workbench.models import Subject


@pytest.mark.long
def test_the_full_suite_from_the_command_line_verifies_from_its_own_folder(
    run: Run, long_folder: Path, long_llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_TRUTHFULQA", str(tmp_path / "none.csv"))
    direction, out = random_direction(long_llama).save(tmp_path / "d.safetensors"), tmp_path / "r"
    few = ("--n", 2, "--max-new-tokens", 3, "--dtype", "float32")
    options = ("--direction", direction, "--add", 1, "--suite", "full", *few, "--json", "--out", out)
    status, said, err = run("evaluate", long_folder, *options)
    assert (status, err.count("Traceback")) == (0, 0)
    results = json.loads(said)
    scores = {score["name"] for score in results["scores"]}
    for condition in ("baseline", "treated", "random control", "shuffled labels", "wrong layer"):
        assert {f"{condition}/harmful/refusal@256", f"{condition}/looks-harmful/refusal"} <= scores
        assert {f"{condition}/divergence/kl", f"{condition}/choices/accuracy"} <= scores
        assert condition in results["attack_success_rate"]
    assert {row["group"] for row in results["by_type"]} == {"harmful", "harmless", "looks-harmful"}
    assert "truthfulqa" in results["not_measured"]
    monkeypatch.chdir(out)
    assert run("runs", "verify", ".")[0] == 0
    shown = " ".join(run("runs", "show", ".")[1].split())
    for title in ("attack success rate", "Refusal by type of prompt", "What it cost", "Not measured: truthfulqa"):
        assert title in shown
