"""Pages on a tiny model: each view as a script of its own, with an engine and a runs folder that nobody else has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from streamlit.testing.v1 import AppTest

from tests.conftest import random_direction
from tests.dashboard.browser import FLAGS, Server, Visitor, chromium, serving
from workbench.dashboard import shelf
from workbench.dashboard.parts import engine as parts
from workbench.models import Subject
from workbench.runs import RunFolder, RunManifest

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
        assert parts.engine().start().opening.wait(10.0)
        return AppTest.from_function(view, args=(name,), default_timeout=30).run()

    yield open_view
    parts.engine.clear()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all journeys."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def server(long_llama: Subject, long_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard on the tiny model, with one direction of a finished run."""
    root = tmp_path_factory.mktemp("server")
    runs = root / "runs"
    found = found_run(long_llama, runs)
    with serving(str(long_folder), runs, root / "cache", root / "log.txt") as made:
        made.direction = found
        yield made


def found_run(subject: Subject, runs: Path) -> str:
    """A finished run that holds a direction of the model; the name it has on the shelf."""
    manifest = RunManifest(command="find", settings={}, model=subject.identity, data={})
    folder = RunFolder.start(manifest, runs / "find-tiny")
    random_direction(subject).save(folder.path / "direction.safetensors")
    folder.finish({}, [])
    return f"find-{manifest.identity[:8]}"


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[..., Visitor]]:
    """Visitors with a profile of their own; at the end none of them has asked anything of another machine."""
    made: list[Visitor] = []

    def come(width: int = 1440, dark: bool = False) -> Visitor:
        made.append(Visitor.of(browser, server, width, dark))
        return made[-1]

    yield come
    for visitor in made:
        visitor.context.close()
        assert visitor.strangers == []
