"""Pages on a tiny model: each view as a script of its own, with an engine and a runs folder that nobody else has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import random_direction
from workbench.dashboard import shelf
from workbench.dashboard.parts import engine as parts
from workbench.models import Subject

Opens = Callable[[str], AppTest]


def view(name: str) -> None:
    """What is run as the script."""
    import importlib

    from workbench.dashboard.parts.engine import status

    status()
    importlib.import_module(f"workbench.dashboard.views.{name}").show()


@pytest.fixture
def shelved(long_llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A direction of the tiny model, called refusal."""
    path = random_direction(long_llama).save(tmp_path / "refusal.safetensors")
    monkeypatch.setattr(shelf, "SHIPPED", {"refusal": path})
    return path


@pytest.fixture
def opens(
    long_llama: Subject, shelved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opens]:  # fmt: skip
    """Open a view on the tiny model, which is ready."""
    monkeypatch.setattr(parts, "opened", lambda name: long_llama)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    parts.engine.clear()

    def open_view(name: str) -> AppTest:
        assert parts.engine().opening.wait(10.0)
        return AppTest.from_function(view, args=(name,), default_timeout=30).run()

    yield open_view
    parts.engine.clear()
