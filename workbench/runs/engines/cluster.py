"""Ray: on the processors of a cluster, or of a local one that is started and stopped here.

Every machine needs the workbench and the models it is asked for, and reads the same paths. A worker that is killed, or
a machine that goes away, costs the tasks that ran there one try. Ray starts without its dashboard, and sends nothing
home.
"""

import importlib
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from workbench.errors import RunError, UsageError
from workbench.runs.engines import TRIES, Failure, Outcome, attempt, died, engines

PATIENCE = 60.0  # Seconds without a result, after which we ask whether the cluster still has a processor.
STORE = 100 * 2**20  # Bytes of shared memory of a local cluster: results are small.
LOST = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "ObjectLostError")


@engines.register("ray")
@dataclass(frozen=True)
class Cluster:
    """Runs tasks on the Ray cluster at `address`; without one, on a local cluster of `workers` processors."""

    address: str | None = None
    workers: int | None = None

    def __call__(self, function_path: str, payloads: Sequence[dict[str, Any]]) -> Generator[Outcome, None, None]:
        ray = _imported()
        with self._connected(ray):
            # Tries are counted here: Ray would not count those that ended out of memory, and go on for ever.
            remote = ray.remote(num_cpus=1, max_retries=0)(attempt)
            yield from _collected(ray, lambda index: remote.remote(function_path, payloads[index]), len(payloads))

    @contextmanager
    def _connected(self, ray: ModuleType) -> Iterator[None]:
        """Connect to the cluster, unless somebody already has; what we connected, we disconnect."""
        if ray.is_initialized():
            yield
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            _require_listener(self.address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **self._place())
        except (OSError, ValueError) as error:
            raise UsageError(
                f"There is no Ray cluster at {self.address}; check the address, or start one with `ray start --head`."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()

    def _place(self) -> dict[str, Any]:
        """Where `ray.init` is to go."""
        if self.address is not None:
            return {"address": self.address}
        return {
            "address": "local",
            "num_cpus": self.workers,
            "object_store_memory": STORE,
            "include_dashboard": False,
        }


def _imported() -> ModuleType:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError("Ray is not installed; pip install 'alignment-workbench[scale]'.") from error


def _require_listener(address: str | None) -> None:
    """Raise OSError where nobody listens at host:port: Ray itself would try for ten minutes."""
    if address is not None and ":" in address:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _collected(ray: ModuleType, submit: Callable[[int], Any], count: int) -> Iterator[Outcome]:
    """Outcomes as they come; a task that is lost with its worker is submitted again."""
    pending = {submit(index): (index, 1) for index in range(count)}
    while pending:
        ready, _ = ray.wait(list(pending), timeout=PATIENCE)
        if not ready:
            _require_processors(ray)
        for reference in ready:
            index, tries = pending.pop(reference)
            outcome = _fetched(ray, reference)
            if outcome is None and tries < TRIES:
                pending[submit(index)] = (index, tries + 1)
            else:
                yield index, died("worker") if outcome is None else outcome


def _fetched(ray: ModuleType, reference: Any) -> dict[str, Any] | Failure | None:
    """What came of a task; None where it was lost with its worker or its machine."""
    try:
        outcome: dict[str, Any] | Failure = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # The function itself raised: the same exception as on any other engine.
        raise error.cause from error
    except tuple(getattr(ray.exceptions, name) for name in LOST):
        return None
    return outcome


def _require_processors(ray: ModuleType) -> None:
    """Raise RunError where nothing is left that could run a task: Ray itself would wait for ever."""
    if not ray.cluster_resources().get("CPU"):
        raise RunError("The Ray cluster has no processor left; add a machine and run again: finished tasks are kept.")
