"""Shared fixtures: tiny models of six architectures, and the real models of the catalog."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.laws.table import pytest_runtest_logreport, pytest_runtest_makereport, pytest_terminal_summary
from tests.laws.thinning import pytest_collection_modifyitems
from tests.tiny import CONFIGS, save_model
from workbench.directions import Direction
from workbench.models import Site, Subject, open_model

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_runtest_logreport",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
]
ARCHITECTURES = tuple(CONFIGS)
REAL = ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {name: save_model(name, root / name) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def tiny_subjects(tiny_folders: dict[str, Path]) -> dict[str, Subject]:
    return {name: open_model(str(folder), dtype="float32") for name, folder in tiny_folders.items()}


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tiny_subjects: dict[str, Subject]) -> Subject:
    """Every tiny architecture in turn."""
    return tiny_subjects[request.param]


@pytest.fixture
def llama(tiny_subjects: dict[str, Subject]) -> Subject:
    """One tiny model, where any will do."""
    return tiny_subjects["llama"]


@pytest.fixture(scope="session")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a context for long replies and long questions, every byte of which is a token."""
    kind, options = CONFIGS["llama"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "long", (kind, options | {"max_position_embeddings": 1024}))
        return save_model("long", tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="session")
def long_llama(long_folder: Path) -> Subject:
    """The same, opened."""
    return open_model(str(long_folder), dtype="float32")


@pytest.fixture(scope="session")
def real_subjects() -> dict[str, Subject]:
    """The catalog's models in float32, opened once."""
    return {name: open_model(name, dtype="float32") for name in REAL}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Runs go to the test's own folder; so does the cache, except where a real model is converted once."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    if request.node.get_closest_marker("real") is None:
        monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


def random_direction(subject: Subject, seed: int = 0, scale: float = 4.0, layer: int = 1) -> Direction:
    """A random direction of this model, long enough to move tokens."""
    drawn = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction.from_raw(
        drawn,
        torch.zeros(subject.d_model),
        scale=scale,
        site=Site(layer, "resid_pre"),
        position=-1,
        method="random",
        model_name=subject.name,
        model_digest=subject.digest,
    )
