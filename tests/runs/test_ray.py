"""On Ray as anywhere: the same results, and who dies costs nobody else anything - a whole machine not either."""

import os
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import random_direction
from tests.runs.test_tasks import DIE, NUMBERS, SQUARE, tasks, tries
from workbench.errors import RunError, UsageError
from workbench.evaluation import Settings
from workbench.models import Subject
from workbench.prompts import Prompts
from workbench.runs.engines import cluster as engine_module
from workbench.runs.engines import make_engine
from workbench.runs.engines.cluster import Cluster
from workbench.runs.tasks import TaskStore, run_tasks
from workbench.studies import Grid, sweep

ray = pytest.importorskip("ray")
LINGER = "tests.runs.jobs:linger"
pytestmark = pytest.mark.long  # a cluster takes its time to start


@pytest.fixture(autouse=True, scope="module")
def _nothing_sent_home() -> Iterator[None]:
    """For the clusters that a test starts itself; the engine sees to its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A cluster of two machines with one processor each, both of them this one."""
    from ray.cluster_utils import Cluster as Machines

    patience = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    machines = Machines(
        initialize_head=True, head_node_args={**small, "include_dashboard": False, "_system_config": patience}
    )
    machines.add_node(**small)
    yield machines
    machines.shutdown()


def test_a_local_cluster_is_started_and_stopped_and_gives_the_results_of_joblib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    some = tasks(NUMBERS, *({"n": n, "pair": (1, 2)} for n in range(4)))
    stores = {name: TaskStore(tmp_path / name) for name in ("joblib", "ray")}
    found = [run_tasks(NUMBERS, some, store, make_engine(name, workers=2)).results for name, store in stores.items()]
    assert found[0] == found[1]
    for task in some:
        files = [(store.root / f"{task.key}.json").read_bytes() for store in stores.values()]
        assert files[0] == files[1]
    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_tasks_run_on_both_nodes_and_each_answers_for_itself(tmp_path: Path, two_nodes: Any) -> None:
    engine, store = Cluster(address=two_nodes.address), TaskStore(tmp_path / "store")
    some = tasks(LINGER, *({"n": n, "seconds": 0.5, "folder": str(tmp_path)} for n in range(8)))
    found = run_tasks(LINGER, some, store, engine).results
    assert {value["node"] for value in found.values()} == {node.node_id for node in two_nodes.list_all_nodes()}

    deaths = [0, 1, 0, 9, 0]
    deadly = tasks(DIE, *({"n": n, "deaths": deaths[n], "folder": str(tmp_path / "d")} for n in range(5)))
    (tmp_path / "d").mkdir()
    ended = run_tasks(DIE, deadly, store, engine)
    assert [value["n"] for value in ended.results.values()] == [0, 1, 2, 4]
    assert "died 2 times" in ended.failures[deadly[3].key].why
    assert tries(tmp_path / "d") == {"0": 1, "1": 2, "2": 1, "3": 2, "4": 1}

    squares = tasks(SQUARE, {"n": 3}, {"n": -1})
    assert list(run_tasks(SQUARE, squares, store, engine).failures) == [squares[1].key]
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        run_tasks(SQUARE, tasks(SQUARE, {"n": 13}), store, engine)
    assert not ray.is_initialized()


def test_a_sweep_finds_the_same_on_two_nodes_and_a_dying_worker_costs_its_own_condition(
    tmp_path: Path, two_nodes: Any, llama: Subject, tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three directions, the second kills its worker half way once, the third at every try.

    That joblib finds what is found here is a claim of the sweep's own tests.
    """
    files = {d: random_direction(llama, n).save(tmp_path / f"{d}.safetensors") for n, d in enumerate("abc")}
    grid = Grid((str(tiny_folders["llama"]),), "add({direction}) @ 1", files, dtype="float32", controls=False)
    sets = {"harmful": Prompts.of(["Burn it.", "Steal it."]), "harmless": Prompts.of(["Bake it.", "Paint it."])}
    few = Settings(max_new_tokens=3)
    alone = sweep(grid, sets, make_engine("here"), settings=few, store=TaskStore(tmp_path / "here"))
    monkeypatch.setattr(import_module("workbench.studies.sweep.sweep"), "FUNCTION", "tests.runs.jobs:measure_or_die")
    engine = Cluster(address=two_nodes.address)
    there = sweep(grid, sets, engine, settings=few, store=TaskStore(tmp_path / "ray"))
    (here,), (on_ray,) = alone.evaluations.values(), there.evaluations.values()
    assert [(name, "died 2 times" in why) for name, why in there.failures.items()] == [
        (f"{grid.models[0]}, add(c) @ 1", True)
    ]
    assert on_ray.conditions == ["baseline", "add(a) @ 1", "add(b) @ 1"]
    for kind in ("measured", "observed"):
        kept = [part for part in getattr(here, kind) if part.condition != "add(c) @ 1"]
        assert list(getattr(on_ray, kind)) == kept
    assert tries(tmp_path) == {"add(a) @ 1": 1, "add(b) @ 1": 2, "add(c) @ 1": 2}


def test_a_node_that_goes_away_takes_no_task_along(tmp_path: Path, two_nodes: Any) -> None:
    some = tasks(LINGER, *({"n": n, "seconds": 3.0, "folder": str(tmp_path)} for n in range(3)))
    leaving = next(iter(two_nodes.worker_nodes))

    def leave() -> None:
        # For at most 30 seconds: a test that fails should not wait for this thread for ever.
        for _ in range(600):
            if (tmp_path / leaving.node_id).exists():
                break
            time.sleep(0.05)
        two_nodes.remove_node(leaving, allow_graceful=False)

    thread = threading.Thread(target=leave)
    thread.start()
    found = run_tasks(LINGER, some, TaskStore(tmp_path / "store"), Cluster(address=two_nodes.address))
    thread.join()
    assert (len(found.results), found.failures) == (3, {})
    assert leaving.node_id not in {value["node"] for value in found.results.values()}
    assert sorted(tries(tmp_path).values()) == [1, 1, 2]


def test_a_cluster_that_is_not_there_or_has_no_processor_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tasks(SQUARE, {"n": 1})
    for address in ("127.0.0.1:1", "nowhere:port"):
        with pytest.raises(UsageError, match=f"no Ray cluster at {address}; check the address"):
            run_tasks(SQUARE, some, TaskStore(tmp_path), Cluster(address=address))
    monkeypatch.setattr(engine_module, "PATIENCE", 1.0)
    ray.init(address="local", num_cpus=0, object_store_memory=engine_module.STORE, include_dashboard=False)
    try:
        with pytest.raises(RunError, match="no processor left"):
            run_tasks(SQUARE, some, TaskStore(tmp_path), Cluster())
        assert ray.is_initialized()
    finally:
        ray.shutdown()
