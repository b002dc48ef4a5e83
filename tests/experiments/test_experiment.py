"""Experiments on tiny models: every one runs from its file, is made of runs that verify, and says a line."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import layer_sweep, model_table
from experiments.experiment import FIGURE, LINE, ExperimentSettings, run_experiment, settings_of
from experiments.listing import HERE, about, experiments
from tests.experiments.small import Bench, settings
from workbench.errors import UsageError
from workbench.runs import RunFolder
from workbench.studies import demonstration
from workbench.studies.verifying import verify_run

Made = Callable[[str], ExperimentSettings]


@pytest.fixture
def small(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The settings of an experiment at its smallest, on tiny models."""
    bench = Bench(tiny_folders, tmp_path / "needed", monkeypatch)
    return lambda name: settings_of(name, changes=settings(name, bench))


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_runs_from_its_file_verifies_and_is_not_run_twice(
    name: str, small: Made, tmp_path: Path
) -> None:
    folder = run_experiment(name, small(name), tmp_path / "r")
    results = folder.results()
    assert (folder.path / FIGURE).stat().st_size > 10_000
    line = (folder.path / LINE).read_text()
    assert line == f"{results['line']}\n"
    assert f"`workbench experiment run {name}`" in line
    assert "n=" in line
    assert folder.manifest.scores
    assert verify_run(folder) == []
    assert run_experiment(name, small(name), tmp_path / "r").manifest.seal == folder.manifest.seal
    _changed(folder)
    _forged(folder)


def _changed(folder: RunFolder) -> None:
    """What was changed in a part is found."""
    for part in folder.results()["parts"]:
        file = folder.path / part / "results.json"
        kept = file.read_bytes()
        file.write_bytes(kept + b" ")
        assert f"{part}: results.json is missing or was changed." in verify_run(folder)
        file.write_bytes(kept)
        assert verify_run(folder) == []


def _forged(folder: RunFolder) -> None:
    """A score that comes from nothing is found."""
    folder.manifest.scores[0] = folder.manifest.scores[0].model_copy(update={"value": 99.0})
    folder.manifest.seal = folder.manifest.sealed()
    assert verify_run(folder) == ["The scores in the manifest do not follow from the runs and the stored values."]


def test_each_has_a_question_a_source_a_time_and_settings_that_fit() -> None:
    for name, each in experiments().items():
        assert each.question.endswith("?")
        assert "20" in each.source
        assert "minutes" in each.takes
        given = settings_of(name, changes=dict.fromkeys(each.needs, "a path"))
        assert given.model_dump(mode="json").items() >= each.settings.items()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("nothing", {}, "There is no experiment called 'nothing'; there are: .*dose-response"),
        ("my.toml", {}, "called .my.toml.; there are: .* given beside the name, with --settings my.toml"),
        ("layer-sweep", {"n_trian": 3}, "n_trian: Extra inputs are not permitted"),
        ("layer-sweep", {"n_train": "many"}, "n_train: Input should be a valid integer"),
    ],
)
def test_wrong_settings_are_said_in_a_sentence(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings_of(name, changes=changes)


def test_a_file_that_is_no_experiment_is_said_in_a_sentence(tmp_path: Path) -> None:
    for text, said in (("x = ", "cannot be read"), ("x = 1", "is no experiment's file")):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(UsageError, match=said):
            about(tmp_path / "x.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        about(tmp_path / "absent.toml")


def test_a_file_and_changes_go_over_the_defaults_in_that_order(tmp_path: Path) -> None:
    held = tomllib.loads((HERE / "layer_sweep.toml").read_text())
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in held.items() if key != "settings")
    (tmp_path / "mine.toml").write_text(f"{text}\n[settings]\nn_train = 8\nn_val = 8\n")
    chosen = settings_of("layer-sweep", tmp_path / "mine.toml", {"n_val": 5})
    assert (chosen.n_train, chosen.n_val, chosen.position) == (8, 5, -1)  # type: ignore[attr-defined]


def test_a_model_that_fails_has_its_reason_in_the_table(
    small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = small("model-table")
    asked = demonstration.demonstrate

    def fails(subject: Any, **options: Any) -> RunFolder:
        if subject.name.endswith("gpt2"):
            raise UsageError("It refuses nothing.")
        return asked(subject, **options)

    monkeypatch.setattr(model_table, "demonstrate", fails)
    results = run_experiment("model-table", chosen, tmp_path / "r").results()
    assert list(results["failures"].values()) == ["It refuses nothing."]
    assert "It refuses nothing." in results["line"]


def test_the_layers_that_are_named_are_beyond_the_random_direction() -> None:
    from experiments.layer_sweep import RANDOM, REAL, told

    def row(layer: int, bypass: float, induce: float) -> dict[str, Any]:
        values = {"refusal_score": bypass, "steering_score": induce, "kl_div_score": 0.1}
        bounds = {name: [value - 0.5, value + 0.5] for name, value in values.items()}
        return {"layer": layer, "n": dict.fromkeys(values, 8), "intervals": bounds} | values

    random = [row(layer, 5.0, -5.0) for layer in range(3)]
    real = [row(0, 5.0, -5.0), row(1, 1.0, 1.0), row(2, 1.0, -4.5)]
    assert "random direction: 1 of 3 (n=8 harmful" in told({REAL: real, RANDOM: random})
    assert "random direction: none of 3" in told({REAL: random, RANDOM: random})


def test_layers_whose_scores_are_no_numbers_are_left_out_of_the_sentence() -> None:
    def row(layer: int, bypass: float | None, induce: float | None) -> dict[str, Any]:
        ends = {"refusal_score": [bypass, bypass], "steering_score": [induce, induce]}
        return {"layer": layer, "intervals": ends, "n": {"refusal_score": 4, "steering_score": 4}}

    real = [row(0, -1.0, 1.0), row(1, -9.0, 9.0), row(2, None, None)]
    told = layer_sweep.told({layer_sweep.REAL: real, layer_sweep.RANDOM: [row(0, -3.0, 3.0), row(1, None, None)]})
    assert "random direction: 1 of 3" in told
    assert "2 layers, at which a direction breaks the model, are left out" in told
    assert "none of 3" in layer_sweep.told({layer_sweep.REAL: real, layer_sweep.RANDOM: [row(0, None, None)]})
