"""The server's start: what is read before the first visitor, and the model that is opened without one."""

import asyncio
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dashboard.browser import ROOT
from workbench.cli.app import entry
from workbench.dashboard import starting
from workbench.dashboard.parts import engine as parts


class Started:
    """An engine that counts how often it is given its start."""

    def __init__(self) -> None:
        self.times = 0

    def start(self) -> None:
        self.times += 1


def lived(monkeypatch: pytest.MonkeyPatch, grace: float) -> int:
    """How often the engine was started in a tenth of a second of the server's life, and after its end."""
    made = Started()
    monkeypatch.setattr(parts, "engine", lambda: made)
    monkeypatch.setattr(starting, "GRACE", grace)

    async def life() -> None:
        async with starting.started(None):
            assert "workbench.dashboard.views.start" in sys.modules
            assert made.times == 0, "the first page comes first"
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)

    with ThreadPoolExecutor(1) as elsewhere:  # the browser of other tests keeps a loop in this thread
        elsewhere.submit(lambda: asyncio.run(life())).result()
    return made.times


def test_a_model_is_opened_also_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lived(monkeypatch, 0.05) == 1


def test_a_server_that_ends_first_opens_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lived(monkeypatch, 0.2) == 0


def test_the_entry_lies_where_it_hides_no_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Streamlit puts the entry's folder on the path; in `workbench` itself, `statistics` would be found there."""
    assert entry() == ROOT / "app.py"
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    app = Path(included["force-include"]["app.py"])
    assert not (ROOT / app.parent).exists(), "nothing else lies there"
    installed = tmp_path / app
    installed.parent.mkdir(parents=True)
    installed.touch()
    (tmp_path / "workbench" / "__init__.py").touch()
    spec = type("Spec", (), {"origin": str(tmp_path / "workbench" / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert entry() == installed
    assert Path(included["force-include"][".streamlit/config.toml"]) == app.parent / ".streamlit" / "config.toml"
