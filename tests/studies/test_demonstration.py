"""The demonstration on a tiny model: everything that it promises is there, and it verifies."""

import json
import sys
from pathlib import Path

import pytest

from workbench.cli.main import main
from workbench.directions import Direction
from workbench.models import Subject
from workbench.prompts import builtin_pairs
from workbench.search import SearchSettings
from workbench.studies import demonstrate, demonstration

# A random model refuses nothing, so its prompts are not filtered.
SMALL = SearchSettings(n_train=6, n_val=4, layers=(1,), positions=(-1,), filtered=False, refusal_starts=("I",))
CONDITIONS = ["baseline", "ablated", "random ablated", "added", "random added"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "demo_settings", lambda subject: SMALL)


def test_the_grid_is_small_and_below_the_late_layers(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    settings = demonstration.demo_settings(llama)
    assert settings.positions == (-2, -1)
    assert settings.layers == ()  # a model of three layers has none from 2 to below int(0.8 x 3)
    assert settings.most_val == 8


def test_every_condition_is_measured_on_prompts_that_the_search_never_saw(llama: Subject, tmp_path: Path) -> None:
    folder = demonstrate(llama, n_test=3, out=tmp_path / "r")
    results = folder.results()
    scores = {score["name"]: score for score in results["evaluation"]["scores"]}
    for condition in CONDITIONS:
        for asked in ("harmful", "harmless"):
            assert scores[f"{condition}/{asked}/refusal"]["n"] == 3
    assert list(results["evaluation"]["control_match"]) == ["random ablated"]
    test = builtin_pairs("test")
    asked_of = {prompt.digest for side in (test.positive, test.negative) for prompt in side}
    assert not Direction.load(folder.path).seen & asked_of
    assert {file.name for file in folder.path.iterdir()} >= {"refusals.html", "tradeoff.html", "results.json"}
    assert demonstrate(llama, n_test=3, out=tmp_path / "r").manifest.started == folder.manifest.started


@pytest.mark.long
def test_the_command_prints_one_table_three_replies_and_what_to_try_next(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    options = (str(tiny_folders["llama"]), "--out", str(tmp_path / "r"))
    status, out = run("demo", *options)
    assert status == 0
    for said in (
        "Replies to harmful prompts",
        "Three replies side by side",
        *CONDITIONS,
        "Try next:",
        str(tmp_path / "r"),
    ):
        assert said in out
    status, out = run("demo", *options, "--json")
    assert (status, json.loads(out)["run"]) == (0, str(tmp_path / "r"))
    assert run("runs", "verify", str(tmp_path / "r"))[0] == 0
    assert run("runs", "show", str(tmp_path / "r"))[0] == 0
