"""workbench probe monitor, on a tiny model."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from workbench.prompts import builtin_prompts

SAY = ("--prompt", "Tell me about rivers.", "--prompt", "How is bread made?", "--dtype", "float32", "--json")


def read(run: Run, model: Path, *options: object) -> dict[str, object]:
    status, printed, err = run("probe", "monitor", model, *SAY, "--max-new-tokens", 6, *options)
    assert status == 0, err
    found: dict[str, object] = json.loads(printed)
    return found


def test_monitor_stops_the_reply_above_the_threshold_and_tells_of_false_alarms(
    run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    watched = ("--probe", direction, "--threshold")
    plain = read(run, model, *watched, 1e6)["prompts"]["replies"]  # type: ignore[index]
    first = [each["coordinates"][0] for each in plain]
    loud = first.index(max(first))
    options = (*watched, sum(first) / 2, "--stop", "--beside", "harmless:val", "--out", tmp_path / "m")
    results = read(run, model, *options)
    found = results["prompts"]["replies"]  # type: ignore[index]
    assert (found[loud]["alarm"], found[loud]["reply"]) == (0, "")
    assert found[1 - loud]["alarm"] != 0
    assert results["prompts"]["alarms before a word"]["value"] == 0.5  # type: ignore[index]
    assert results["beside"]["alarms before a word"]["n"] > 10  # type: ignore[index]
    ours = [each["coordinates"][0] for each in found]
    theirs = [each["coordinates"][0] for each in results["beside"]["replies"]]  # type: ignore[index]
    won = [(one > other) + 0.5 * (one == other) for one in ours for other in theirs]
    assert results["separation"]["value"] == pytest.approx(sum(won) / len(won))  # type: ignore[index]
    assert sorted(file.name for file in (tmp_path / "m").iterdir()) == ["first.html", "monitor.html", "monitor.json"]


def test_a_trained_probe_brings_its_own_threshold_and_switches_on_a_recipe(
    run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    options = ("--n", 20, "--folds", 3, "--dtype", "float32", "--method", "ridge", "--out", tmp_path / "p", "--json")
    status, printed, err = run("probe", "train", model, *options)
    assert status == 0, err
    found = read(run, model, "--probe", tmp_path / "p")
    assert found["threshold"] == json.loads(printed)["threshold"]
    switched = ("--direction", f"d={direction}", "--switch", "40 * add(d) @ all")
    plain, after = (read(run, model, "--probe", direction, "--threshold", -1e6, *more) for more in ((), switched))
    replies = [[each["reply"] for each in one["prompts"]["replies"]] for one in (plain, after)]  # type: ignore[index]
    assert replies[0] != replies[1]
    assert "add(d" in str(after["action"])


def test_a_probe_is_not_measured_on_what_it_was_fitted_to(run: Run, model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(prompt.text for prompt in builtin_prompts("harmful", "train")) + "\nOne more request.\n")
    options = ("--dtype", "float32", "--json")
    fit = ("--harmful", own, "--n", 200, "--folds", 3, "--method", "ridge", "--out", tmp_path / "p")
    assert run("probe", "train", model, *fit, *options)[0] == 0
    ask = ("--probe", tmp_path / "p", "--prompts", own, "--max-new-tokens", 1)
    status, _, err = run("probe", "monitor", model, *ask, *options)
    assert (status, "A monitor needs at least 1 prompts" in err) == (2, True)
    own.write_text(own.read_text() + "Another one.\n")
    status, printed, err = run("probe", "monitor", model, *ask, "--prefill", "Sure", *options)
    assert status == 0, err
    assert [each["prompt"] for each in json.loads(printed)["prompts"]["replies"]] == ["Another one."]
    assert "111 of 112 prompts" in " ".join(err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "What is read has no threshold of its own"),
        (("--threshold", "1", "--stop", "--switch", "ablate(d) @ all"), "Give either --stop or --switch"),
        (("--threshold", "nan"), "finite coordinate"),
    ],
)
def test_monitor_says_what_is_wrong_in_one_sentence(
    run: Run, model: Path, direction: Path, options: tuple[str, ...], said: str
) -> None:
    status, _, err = run("probe", "monitor", model, "--probe", direction, *SAY, *options)
    assert status == 2
    assert said in err
