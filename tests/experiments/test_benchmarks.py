"""Every benchmark runs on a tiny model, and compares the same work."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.benchmarks import Timing, benchmarks, interleaved, table
from experiments.benchmarks.machine import machine
from experiments.benchmarks.plain import plain_model
from experiments.benchmarks.plain_search import PlainSearch
from experiments.benchmarks.search import SETTINGS, compare
from tests.search.test_finding import PAIRS
from workbench.cli.main import main
from workbench.models import Subject, token_rows
from workbench.search import SearchSettings, find_direction
from workbench.search.finding import draw


def test_ways_are_interleaved_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    ways = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    timings = interleaved(ways, 2, units=4, unit="tokens")
    assert order == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings] == [2, 2]


def test_the_ratio_is_of_medians_for_each_unit_of_work() -> None:
    rows = table([Timing("ours", (9.0, 1.0, 2.0), 10, "x"), Timing("theirs", (4.0, 4.0, 9.0), 5, "x")])
    assert [row["ratio"] for row in rows] == [1.0, 4.0]
    assert [row["x_per_s"] for row in rows] == [5.0, 1.25]
    assert (rows[0]["least_s"], rows[0]["most_s"]) == (1.0, 9.0)


def test_the_machine_has_limits() -> None:
    found = machine(torch.float32, torch.device("cpu"))
    assert found["matmul_gflops"] > 1
    assert found["read_gb_per_s"] > 0.1


def test_the_plain_search_scores_as_ours_does(llama: Subject) -> None:
    settings = SearchSettings(n_train=8, n_val=4, filtered=False, refusal_starts=("I",), strategy="exhaustive")
    found = find_direction(llama, PAIRS, settings=settings)
    _, val = draw(PAIRS, None, settings)
    rows = [token_rows(llama, side) for side in (val.positive, val.negative)]
    plain = PlainSearch.of(plain_model(llama), llama, *rows, found.tokens.ids)
    scores = plain.score(found.direction)
    for name, value in scores.items():
        assert value == pytest.approx(found.row[name], abs=1e-3)


def test_the_search_benchmark_compares_the_same_candidates(llama: Subject) -> None:
    found = compare(llama, 1, PAIRS, whole=True)
    assert [row["way"] for row in found["timings"]] == ["screened", "the paper's"]
    assert found["candidates"] == 6
    assert found["same"] or found["ours"]["refusal_score"] <= found["the_paper"]["refusal_score"] + 0.05
    assert not SETTINGS.filtered


@pytest.mark.parametrize("name", [name for name in benchmarks if not name.startswith("search")])
def test_every_benchmark_runs_from_the_command_line(
    name: str,
    tiny_folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(tiny_folders["llama"])
    monkeypatch.setattr("experiments.benchmarks.talking.NEW_TOKENS", 2)
    options = ["--rounds", "1", "--dtype", "float32", "--json"]
    monkeypatch.setattr(sys, "argv", ["workbench", "bench", name, folder, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    timings = found[name]["timings"]
    for rows in timings.values() if isinstance(timings, dict) else [timings]:
        assert rows[0]["ratio"] == 1.0
        assert len(rows) > 1
