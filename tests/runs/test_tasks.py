"""What is stored is not run again, and a task that fails costs only itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import pytest

from workbench.errors import RunError, UsageError
from workbench.runs.engines import Engine, engines, make_engine
from workbench.runs.engines.local import Local
from workbench.runs.tasks import Failed, Task, TaskStore, run_tasks

ROOT = Path(__file__).parents[2]
SQUARE = "tests.runs.jobs:square"
DIE = "tests.runs.jobs:die"
NUMBERS = "tests.runs.jobs:numbers"


def tasks(function: str, *payloads: dict[str, Any]) -> list[Task]:
    return [Task.of(function, payload) for payload in payloads]


def tries(folder: Path) -> dict[str, int]:
    return {file.stem: file.stat().st_size for file in folder.glob("*.tries")}


@pytest.fixture(params=["here", "joblib"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return make_engine(request.param)


def test_a_key_tells_what_decides_the_result() -> None:
    one, other = Task.of(SQUARE, {"n": 1, "folder": "a"}), Task.of(SQUARE, {"folder": "a", "n": 1})
    assert one.key == other.key != Task.of(DIE, one.payload).key
    assert Task.of(SQUARE, {"folder": "a"}, decided_by=["d"]).key == Task.of(SQUARE, {}, decided_by=["d"]).key
    with pytest.raises(ValueError, match="pattern"):
        Task(key="../elsewhere", payload={})


def test_what_is_stored_is_not_run_again(tmp_path: Path, engine: Engine) -> None:
    store = TaskStore(tmp_path / "store")
    few = tasks(SQUARE, *({"n": n, "folder": str(tmp_path)} for n in range(3)))
    more = tasks(SQUARE, *({"n": n, "folder": str(tmp_path)} for n in (4, 2, 3, 2, 1)))
    run_tasks(SQUARE, few, store, engine)
    found = run_tasks(SQUARE, more, store, engine)
    assert [value["square"] for value in found.results.values()] == [16, 4, 9, 1]
    assert tries(tmp_path) == dict.fromkeys("01234", 1)
    assert len(os.listdir(store.root)) == 5


def test_a_failing_task_costs_only_itself_and_is_tried_again(tmp_path: Path, engine: Engine) -> None:
    store = TaskStore(tmp_path / "store")
    some = tasks(SQUARE, *({"n": n, "folder": str(tmp_path)} for n in (1, -1, 2)))
    for _ in range(2):
        found = run_tasks(SQUARE, some, store, engine)
        assert [value["square"] for value in found.results.values()] == [1, 4]
        assert found.failures == {some[1].key: Failed(some[1].key, "-1 is negative; give a number from 0.")}
    assert tries(tmp_path) == {"1": 1, "-1": 2, "2": 1}


def test_a_mistake_in_the_function_is_raised_as_it_is(tmp_path: Path, engine: Engine) -> None:
    store = TaskStore(tmp_path)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        run_tasks(SQUARE, tasks(SQUARE, *({"n": n} for n in (1, 13, 2))), store, engine)
    assert run_tasks(SQUARE, tasks(SQUARE, {"n": 1}), store, engine).failures == {}


def test_a_killed_worker_costs_only_its_own_task_one_try(tmp_path: Path) -> None:
    deaths = [0, 1, 0, 9, 0, 0, 1, 0]
    some = tasks(DIE, *({"n": n, "deaths": deaths[n], "folder": str(tmp_path)} for n in range(len(deaths))))
    found = run_tasks(DIE, some, TaskStore(tmp_path / "store"), Local(workers=2))
    assert [value["n"] for value in found.results.values()] == [0, 1, 2, 4, 5, 6, 7]
    assert list(found.failures) == [some[3].key]
    assert "died 2 times" in found.failures[some[3].key].why
    assert max(tries(tmp_path).values()) == 2


def test_a_worker_that_is_replaced_for_its_size_costs_no_task(tmp_path: Path) -> None:
    """Warnings are errors here: the one that loky gives from its own thread would end the thread, and we would hang."""
    outcomes = dict(make_engine("joblib", workers=2)("tests.runs.jobs:grow", [{"n": n} for n in range(12)]))
    found = [outcome for outcome in outcomes.values() if isinstance(outcome, dict)]
    assert sorted(each["n"] for each in found) == list(range(12))
    assert len({each["process"] for each in found}) > 2


def test_every_task_that_kills_its_worker_fails_for_itself(tmp_path: Path) -> None:
    some = tasks(DIE, *({"n": n, "deaths": 9, "folder": str(tmp_path)} for n in range(3)))
    found = run_tasks(DIE, some, TaskStore(tmp_path / "store"), Local(workers=2))
    assert (found.results, list(found.failures)) == ({}, [task.key for task in some])


def test_results_are_the_same_here_and_in_workers(tmp_path: Path) -> None:
    some = tasks(NUMBERS, *({"n": n, "pair": (1, 2)} for n in range(4)))
    stores = {name: TaskStore(tmp_path / name) for name in ("here", "joblib")}
    found = [run_tasks(NUMBERS, some, store, make_engine(name)).results for name, store in stores.items()]
    assert found[0] == found[1]
    for task in some:
        files = [(store.root / f"{task.key}.json").read_bytes() for store in stores.values()]
        assert files[0] == files[1]


def test_a_worker_has_its_share_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    some = tasks("tests.runs.jobs:threads", {"n": 0})
    found = run_tasks("tests.runs.jobs:threads", some, TaskStore(tmp_path), Local(workers=3))
    assert list(found.results.values()) == [{"threads": str(max(1, joblib.cpu_count() // 3))}]


@pytest.mark.parametrize(("content", "says"), [('{"square', "not readable JSON"), ("[1]", "not a JSON object")])
def test_a_damaged_result_is_named_before_any_work(tmp_path: Path, content: str, says: str) -> None:
    store, some = TaskStore(tmp_path / "store"), tasks(SQUARE, *({"n": n, "folder": str(tmp_path)} for n in (1, 2)))
    file = store.root / f"{some[1].key}.json"
    store.root.mkdir()
    file.write_text(content)
    with pytest.raises(RunError, match=rf"{file.name} is .*{says}.*remove it"):
        run_tasks(SQUARE, some, store, make_engine("here"))
    assert tries(tmp_path) == {}


@pytest.mark.parametrize("name", ["here", "joblib"])
def test_ctrl_c_leaves_stored_results_whole_and_the_rest_for_the_next_time(tmp_path: Path, name: str) -> None:
    some = [{"n": n, "seconds": 0.4, "folder": str(tmp_path)} for n in range(12)]
    code = (
        "from pathlib import Path; from workbench.runs.engines import make_engine\n"
        "from workbench.runs.tasks import Task, TaskStore, run_tasks\n"
        f"tasks = [Task.of({DIE!r}, one) for one in {some!r}]\n"
        f"run_tasks({DIE!r}, tasks, TaskStore(Path({str(tmp_path / 'store')!r})), make_engine({name!r}))\n"
    )
    store, every = TaskStore(tmp_path / "store"), tasks(DIE, *some)
    running = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )
    while len(store.done(task.key for task in every)) < 2 and running.poll() is None:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=30)[1]
    kept = store.done(task.key for task in every)
    assert "KeyboardInterrupt" in said
    assert 2 <= len(kept) < 12
    assert {f"{key}.json" for key in kept} == set(os.listdir(store.root))
    before = tries(tmp_path)
    found = run_tasks(DIE, every, store, make_engine("here"))
    assert [value["n"] for value in found.results.values()] == list(range(12))
    assert all(tries(tmp_path)[str(n)] == before[str(n)] for n in range(12) if every[n].key in kept)


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"here", "joblib", "ray"} <= set(engines)
    for path in ("tests.runs.jobs:nothing", "tests.nowhere:square", "square"):
        with pytest.raises(UsageError, match="There is no function"):
            run_tasks(path, tasks(path, {"n": 1}), TaskStore(tmp_path), make_engine("here"))
    with pytest.raises(UsageError, match="2 workers or more"):
        make_engine("joblib", workers=1)
    with pytest.raises(UsageError, match="cannot be made"):
        make_engine("here", workers=3)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Ray is not installed; pip install 'alignment-workbench\[scale\]'\."):
        run_tasks(SQUARE, tasks(SQUARE, {"n": 1}), TaskStore(tmp_path), make_engine("ray"))
