"""Speed, ours and the plain way side by side in one run. One file, one benchmark.

`workbench bench NAME` runs one: each way in turn, several rounds, so that a busy machine is busy for all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from workbench.models import Subject
from workbench.registry import Registry
from workbench.runs import track

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Timing:
    """The seconds that one way took, round by round, for `units` of work (tokens, candidates)."""

    name: str
    seconds: tuple[float, ...]
    units: float
    unit: str

    @property
    def median(self) -> float:
        return median(self.seconds)

    def to_json(self, ours: "Timing") -> dict[str, Any]:
        """The row of a table; `ratio` is how many times faster `ours` is, by medians for each unit of work."""
        each = self.median / self.units
        return {
            "way": self.name,
            "median_s": round(self.median, 3),
            "least_s": round(min(self.seconds), 3),
            "most_s": round(max(self.seconds), 3),
            "rounds": len(self.seconds),
            f"{self.unit}_per_s": round(1 / each, 3),
            "ratio": round(each / (ours.median / ours.units), 3),
        }


@runtime_checkable
class Benchmark(Protocol):
    """Measures our way (the first) and the plain ways of one job."""

    def __call__(self, subject: Subject, rounds: int) -> dict[str, Any]: ...


benchmarks: Registry[Benchmark] = Registry("benchmark", "experiments.benchmarks", "workbench.benchmarks")


def interleaved(
    ways: Ways, rounds: int, *, units: Mapping[str, float] | float, unit: str, warm: bool = True
) -> list[Timing]:
    """Run every way once unmeasured (unless it takes too long to be warmed up), then all in turn, `rounds` times."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in track(range(rounds + warm), "Benchmarking"):
        for name, way in ways.items():
            start = perf_counter()
            way()
            taken[name].append(perf_counter() - start)
    of = units if isinstance(units, Mapping) else dict.fromkeys(ways, units)
    return [Timing(name, tuple(seconds[warm:]), of[name], unit) for name, seconds in taken.items()]


def table(timings: list[Timing]) -> list[dict[str, Any]]:
    """Every way against the first, which is ours."""
    return [timing.to_json(timings[0]) for timing in timings]
