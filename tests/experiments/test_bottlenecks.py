"""A bottleneck that was trained on other texts, or in another model, is refused before anything is measured."""

from pathlib import Path

import pytest

from experiments.experiment import ExperimentSettings, settings_of
from tests.experiments.small import Bench, settings
from workbench.errors import DirectionError, UsageError


@pytest.fixture
def bench(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tiny_folders, tmp_path, monkeypatch)


def transfer(bench: Bench, **changes: str) -> ExperimentSettings:
    return settings_of("concept-transfer", changes=settings("concept-transfer", bench) | changes)


def test_what_the_bottleneck_was_not_made_from_is_refused(bench: Bench) -> None:
    assert set(transfer(bench).digests()) == {"concepts", "bottleneck", "fortunes"}
    with pytest.raises(UsageError, match="was not trained on the concepts built-in; give those"):
        transfer(bench, concepts="built-in").digests()
    with pytest.raises(DirectionError, match="was found in llama"):
        transfer(bench, model=str(bench.folders["gpt2"])).digests()


def test_a_file_of_sayings_that_changed_is_another_run_and_a_missing_one_is_said(bench: Bench) -> None:
    chosen = transfer(bench)
    before, file = chosen.digests(), bench.scratch / "fortunes" / "wet"
    file.write_text("Another saying of rain.\n")
    assert chosen.digests()["fortunes"] != before["fortunes"]
    file.unlink()
    with pytest.raises(UsageError, match="has no file wet; give a folder with all fortunes"):
        chosen.digests()
