"""A command line that is called in this process, and what most calls need."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import random_direction
from workbench.cli.main import main
from workbench.models import Subject

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("workbench.runs.reporters._SOON", 0.0)  # a tiny model is done before anything would be said

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def model(tiny_folders: dict[str, Path]) -> Path:
    return tiny_folders["llama"]


@pytest.fixture
def direction(llama: Subject, tmp_path: Path) -> Path:
    return random_direction(llama).save(tmp_path / "d.safetensors")
