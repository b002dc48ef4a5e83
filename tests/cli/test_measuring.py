"""evaluate, dose, minimise, sweep and judge on the command line, and runs verify behind each of them."""

import inspect
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from workbench.cli.evaluate import command as evaluate_command
from workbench.prompts import load_prompts

FEW = ("--n", 2, "--max-new-tokens", 3, "--json")


def test_a_dose_from_the_command_line_verifies(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    options = ("dose", model, "--direction", direction, "--add", 1, "--doses", "0.5,1", "--goal", "refuse", *FEW)
    status, said, err = run(*options, "--out", out)
    assert (status, err.count("Traceback")) == (0, 0)
    found = json.loads(said)
    assert [row["dose"] for row in found["doses"]] == [0.5, 1.0]
    assert found["settings"]["goal"] == "refuse"
    assert run("runs", "verify", out)[0] == 0
    assert "Refusal of harmless prompts by dose (n=2)" in run("runs", "show", out)[1]
    sets = ("--harmful", "harmful:val", "--harmless", "harmless:val")
    status, said, err = run("evaluate", model, "--recipe", out, *sets, "--max-new-tokens", 2, "--half-width", 5)
    assert status == 0, err
    assert "4 prompts are left out: the direction was found with them, or the recipe chosen by them." in " ".join(
        err.split()
    )
    assert "± 0.05" in said
    assert "Prompts that the interval asked for takes" in said


def test_no_default_prompts_of_an_evaluation_are_any_that_may_be_tuned_on() -> None:
    options = inspect.signature(evaluate_command).parameters
    for name in ("harmful", "harmless", "looks_harmful"):
        assert load_prompts(options[name].default).locked


def test_a_minimisation_from_the_command_line_verifies(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    few = ("--steps", 2, "--n-train", 4, "--n-val", 2, "--n-test", 2, "--max-new-tokens", 3, "--second-opinion", 2)
    status, said, err = run("minimise", model, *few, "--margin", 20, "--json", "--out", out)
    assert (status, err.count("Traceback")) == (0, 0)
    found = json.loads(said)
    assert [point["step"] for point in found["front"]["points"]] == [0, 2]
    assert found["second_opinion"]["trials"] == 2
    assert {"treated/harmful/refusal", "treated/divergence/kl"} <= {score["name"] for score in found["test"]["scores"]}
    assert run("runs", "verify", out)[0] == 0
    shown = " ".join(run("runs", "show", out)[1].split())
    assert "The front on validation prompts (n=2 harmless)" in shown
    assert "Second opinion, 2 trials" in shown


def test_a_sweep_from_the_command_line_verifies(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    recipe = "add({direction}, strength={strength}) @ {layer}"
    options = (
        "sweep",
        "--model",
        model,
        "--recipe",
        recipe,
        "--direction",
        f"d={direction}",
        *FEW,
        "--dtype",
        "float32",
    )
    few = ("--layer", "1,2", "--strength", 1, "--no-controls", "--metric", "language")
    status, said, err = run(*options, *few, "--out", out)
    assert (status, err.count("Traceback")) == (0, 0)
    scores = {score["name"] for score in json.loads(said)["models"][str(model)]["scores"]}
    assert {"baseline/harmful/refusal", "add(d, strength=1.0) @ 2/harmful/refusal"} <= scores
    assert "add(d, strength=1.0) @ 2/language/cross_entropy" in scores
    assert run("runs", "verify", out)[0] == 0
    assert "differences from each model" in " ".join(run("runs", "show", out)[1].lower().split())


def test_a_sweep_with_a_failure_says_so_and_exits_with_1(
    run: Run, model: Path, direction: Path, tmp_path: Path
) -> None:
    options = ("sweep", "--model", model, "--recipe", "add(d) @ {layer}", "--direction", f"d={direction}", *FEW)
    status, said, err = run(*options, "--layer", "1,50", "--no-controls", "--dtype", "float32", "--out", tmp_path / "r")
    assert status == 1
    assert "1 tasks failed" in err
    assert "layers 0-2" in next(iter(json.loads(said)["failures"].values()))


def test_completions_of_another_tool_are_judged_and_verify(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "completions.json", tmp_path / "r"
    rows = [
        {"prompt": "Say hello.", "response": "I'm sorry, but I can't assist with that."},
        {"prompt": "a", "response": ""},
    ]
    file.write_text(json.dumps({"completions": rows}))
    status, said, _ = run("judge", file, "--json", "--out", out)
    assert status == 0
    scores = {score["name"]: score["value"] for score in json.loads(said)["scores"]}
    assert (scores["given/completions/refusal"], scores["given/completions/broken"]) == (0.5, 0.5)
    assert run("runs", "verify", out)[0] == 0
    status, said, _ = run("runs", "inspect", out, "--json")
    assert (status, len(json.loads(said)["logs"])) == (0, 1)
    assert Path(json.loads(said)["logs"][0]).parent == tmp_path / "r-inspect"
    (out / "replies.jsonl").write_text((out / "replies.jsonl").read_text().replace("sorry", "happy"))
    assert run("runs", "verify", out)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dose", "MODEL", "--direction", "DIRECTION", "--add", 1, "--harmful", "harmful:test"), "locked"),
        (("find", "MODEL", "--harmful", "harmful:test"), "locked"),
        (("minimise", "MODEL", "--harmful", "harmful:test"), "locked"),
        (("minimise", "MODEL", "--harmless-val", "harmless:test"), "locked"),
        (("minimise", "MODEL", "--budget", 0), "give a number above 0"),
        (("dose", "MODEL", "--direction", "DIRECTION", "--add", 1, "--control", "heat"), "has no control 'heat'"),
        (("dose", "MODEL", "--direction", "DIRECTION", "--add", 1, "--doses", "a"), "cannot be read"),
        (("dose", "MODEL", "--direction", "DIRECTION", "--add", 1, "--goal", "win"), "The goal is comply or refuse"),
        (("evaluate", "MODEL", "--direction", "DIRECTION", "--add", 1, "--suite", "big"), "no suite 'big'"),
        (("evaluate", "MODEL", "--direction", "DIRECTION", "--add", 1, "--judge", "strongreject"), "--judge-model"),
        (("evaluate", "MODEL", "--direction", "DIRECTION", "--add", 1, "--judge-model", "x"), "asks no model"),
        (("evaluate", "MODEL", "--direction", "DIRECTION", "--add", 1, "--truthfulqa", "no.csv"), "no file no.csv"),
        (("sweep", "--model", "MODEL", "--recipe", "add(d) @ {layer}"), "no --layer was given"),
        (("sweep", "--model", "MODEL", "--recipe", "add(d) @ 1", "--direction", "x.st"), "has no name"),
        (("sweep", "--model", "MODEL", "--recipe", "add(d) @ 1", "--metric", "joy"), "no metric called 'joy'"),
        (("sweep", "--model", "MODEL", "--recipe", "add(d) @ 1", "--engine", "cloud"), "no engine called 'cloud'"),
        (("sweep", "--model", "MODEL", "--recipe", "add(d) @ 1", "--engine", "here", "--workers", 2), "cannot be made"),
        (("judge", "nothing.json"), "cannot be read"),
    ],
)
def test_wrong_use_is_one_sentence(
    run: Run, model: Path, direction: Path, arguments: tuple[object, ...], said: str
) -> None:
    names = {"MODEL": model, "DIRECTION": direction}
    status, out, err = run(*(names.get(a, a) if isinstance(a, str) else a for a in arguments))
    assert (status, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_metrics_beside_the_suites_are_named(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    options = ("evaluate", model, "--direction", direction, "--ablate", "--n", 2, "--max-new-tokens", 2)
    named = ("--metric", "choices", "--metric", "first-token", "--metric", "choices")  # the second is the suite's own
    status, out, err = run(*options, *named, "--out", tmp_path / "r", "--json")
    assert status == 0, err
    measured = [score["name"].split("/", 1) for score in json.loads(out)["scores"]]
    assert (
        measured.count(["treated", "choices/accuracy"])
        == measured.count(["treated", "first-token/first_token_kl"])
        == 1
    )
    assert run("runs", "verify", tmp_path / "r")[0] == 0
    assert "needs more than its name" in run(*options, "--metric", "readouts")[2]
    assert "no metric called 'magic'" in run(*options, "--metric", "magic")[2]
