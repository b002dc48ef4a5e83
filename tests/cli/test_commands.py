"""Every command on a tiny model: what it prints, as JSON and for a person, and how it fails."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Run
from tests.tiny import save_model
from workbench.directions import Direction
from workbench.interventions import Ablate
from workbench.prompts import builtin_pairs


def test_models_lists_the_catalog(run: Run) -> None:
    status, out, _ = run("models", "--json")
    names = {entry["name"] for entry in json.loads(out)["models"]}
    assert (status, names) == (0, {"qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"})
    assert "Apache-2.0" in run("models")[1]


def test_doctor_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert status == 0
    assert checks["torch"]["ok"]
    monkeypatch.setenv("WORKBENCH_RUNS", "/proc/nowhere")
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith("/proc"))
    status, out, err = run("doctor")
    assert status == 1
    assert "set WORKBENCH_RUNS" in out
    assert err == "workbench: runs folder: not in order; the remedies are above.\n"


def test_generate_under_a_direction(run: Run, model: Path, direction: Path) -> None:
    options = ("generate", model, "--prompt", "Hello", "--max-new-tokens", 6, "--dtype", "float32", "--json")
    plain = json.loads(run(*options)[1])
    status, out, _ = run(*options, "--direction", direction, "--add", 2.0)
    steered = json.loads(out)
    assert status == 0
    assert steered["recipe"] == "2 * add(d) @ 1.resid_pre"
    assert plain["recipe"] == "nothing"
    assert plain["replies"][0]["reply"] != steered["replies"][0]["reply"]


def test_stdout_is_one_json_document_and_the_rest_is_on_stderr(run: Run, model: Path) -> None:
    status, out, err = run("generate", model, "--prompt", "Hi", "--max-new-tokens", 3, "--json")
    assert (status, json.loads(out)["model"]["name"]) == (0, "llama")
    assert "Generating" in err


def test_find_evaluate_and_verify_hang_together(run: Run, model: Path, tmp_path: Path) -> None:
    found, judged = tmp_path / "found", tmp_path / "judged"
    grid = ("--n-train", 8, "--n-val", 4, "--layers", "1", "--no-filter", "--refusal-token", "I", "--dtype", "float32")
    status, out, err = run("find", model, *grid, "--out", found, "--json")
    assert (status, json.loads(out)["chosen"]["layer"]) == (0, 1), err
    assert Direction.load(found).site.layer == 1
    options = ("--direction", found, "--ablate", "--n", 4, "--max-new-tokens", 4, "--dtype", "float32")
    status, out, _ = run("evaluate", model, *options, "--out", judged, "--json")
    scores = {score["name"]: score for score in json.loads(out)["scores"]}
    assert status == 0
    assert scores["treated/harmful/refusal"]["n"] == 4
    assert scores["baseline/first-token/first_token_kl"]["value"] == 0.0
    assert scores["treated/first-token/first_token_kl"]["value"] > 0.0
    assert "random control/harmful/refusal" in scores
    for folder in (found, judged):
        assert run("runs", "verify", folder)[0] == 0
    assert "Replies to harmful prompts" in run("runs", "show", judged)[1]
    assert "Front" in run("runs", "show", found)[1]
    replies = judged / "replies.jsonl"
    replies.write_text(replies.read_text().replace('"outcome": "', '"outcome": "refuse" , "x": "', 1))
    status, _, err = run("runs", "verify", judged)
    assert status == 1
    assert "replies.jsonl is missing or was changed" in err


def test_evaluate_leaves_out_what_the_search_saw(run: Run, model: Path, tmp_path: Path) -> None:
    found, pairs = tmp_path / "found", builtin_pairs("train").sample(30)
    for name, side in (("harmful", pairs.positive), ("harmless", pairs.negative)):
        (tmp_path / f"{name}.txt").write_text("\n".join(prompt.text for prompt in side))
    sets = ("--harmful", tmp_path / "harmful.txt", "--harmless", tmp_path / "harmless.txt")
    grid = ("--n-train", 8, "--n-val", 4, "--layers", "1", "--no-filter", "--refusal-token", "I", "--dtype", "float32")
    assert run("find", model, *sets, *grid, "--out", found)[0] == 0
    options = ("--direction", found, "--add", 1, "--max-new-tokens", 2, "--dtype", "float32", "--json")
    _, out, err = run("evaluate", model, *options, *sets)
    scores = {score["name"]: score for score in json.loads(out)["scores"]}
    assert "24 prompts are left out: the direction was found with them" in " ".join(err.split())
    assert scores["treated/harmful/refusal"]["n"] == 30 - 12
    _, out, _ = run("evaluate", model, "--direction", found / "direction.safetensors", *options[2:], *sets, "--n", 5)
    assert json.loads(out)["scores"][0]["n"] == 5
    recipe = Ablate(Direction.load(found)).at("all").save(tmp_path / "recipe.json")
    _, out, err = run("evaluate", model, "--recipe", recipe, *options[4:], *sets)
    assert "24 prompts are left out" in err
    assert json.loads(out)["scores"][0]["n"] == 30 - 12
    assert json.loads(out)["control_match"]["random control"] == [pytest.approx(1.0, abs=0.05)]


def test_an_interrupted_evaluation_goes_on_where_it_was(
    run: Run, model: Path, direction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.evaluation import measuring

    options = ("evaluate", model, "--direction", direction, "--ablate", "--n", 3, "--max-new-tokens", 3)
    whole = json.loads(run(*options, "--dtype", "float32", "--out", tmp_path / "whole", "--json")[1])
    real, calls = measuring._replies, []

    def dying(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "_replies", dying)
    status, out, err = run(*options, "--dtype", "float32", "--out", tmp_path / "cut", "--json")
    assert (status, out) == (130, "")
    assert "Stopped." in err
    again = json.loads(run(*options, "--dtype", "float32", "--out", tmp_path / "cut", "--json")[1])
    assert len(calls) == 4 + 3
    assert {**again, "run": ""} == {**whole, "run": ""}


def test_a_run_folder_is_never_overwritten(run: Run, model: Path, direction: Path, tmp_path: Path) -> None:
    options = ("evaluate", model, "--direction", direction, "--ablate", "--max-new-tokens", 2, "--out", tmp_path / "r")
    assert run(*options, "--n", 2)[0] == 0
    status, _, err = run(*options, "--n", 3)
    assert status == 1
    assert "holds another run" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    status, _, err = run(*options[:-1], tmp_path / "mine", "--n", 2)
    assert status == 1
    assert "is not a run folder" in err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_runs_list_is_empty_and_then_is_not(run: Run, model: Path, direction: Path) -> None:
    assert "There are no runs" in run("runs", "list")[1]
    run("evaluate", model, "--direction", direction, "--ablate", "--max-new-tokens", 2, "--n", 2)
    assert len(json.loads(run("runs", "list", "--json")[1])["runs"]) == 1


def test_a_card_names_its_figure_and_verifies(
    run: Run, model: Path, direction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.studies.identifiability import recording, resampling

    monkeypatch.setattr(resampling, "RESAMPLES", 3)
    monkeypatch.setattr(resampling, "REPEATS", 2)
    monkeypatch.setattr(recording, "refusal_tokens", lambda *_: SimpleNamespace(ids=(40,)))
    call = ("card", model, "--direction", direction, "--out", tmp_path / "c")
    status, out, _ = run(*call, "--json")
    assert status == 0
    assert json.loads(out)["names"][0] == "harmful, own system prompt"
    status, out, _ = run(*call)
    assert status == 0
    assert "identifiability.html" in out.replace("\n", "")
    assert run("runs", "verify", tmp_path / "c")[0] == 0


BAD = [
    (("find", "MODEL", "--harmful", "none.jsonl"), 2, "There is no file none.jsonl"),
    (("find", "MODEL", "--harmful", "latin.txt"), 2, "is not UTF-8"),
    (("find", "MODEL", "--harmful", "columns.csv"), 2, "has no 'prompt' column (it has: text, kind)"),
    (("find", "MODEL", "--harmful", "empty.txt"), 2, "has no prompts"),
    (("find", "MODEL", "--harmful", "tiny.txt", "--no-filter"), 2, "needs at least 8 prompts and tiny.txt has 1"),
    (("find", "MODEL", "--harmful-val", "tiny.txt"), 2, "Give both --harmful-val and --harmless-val"),
    (("find", "MODEL", "--harmful", "long.txt"), 2, "xxxx') has 506 tokens, but llama reads at most 256; shorten it"),
    (("find", "MODEL", "--layers", "99", "--no-filter"), 2, "No site 99.resid_pre in llama; it has layers 0-2"),
    (("find", "MODEL", "--layers", "x"), 2, "--layers 'x' cannot be read"),
    (("find", "MODEL", "--layers", "0-99999999999"), 2, "--layers '0-99999999999' cannot be read"),
    (("find", "MODEL", "--positions", "4-2"), 2, "--positions '4-2' cannot be read"),
    (("generate", "MODEL", "--prompt", "Hi", "--device", "toaster"), 2, "no device 'toaster' on this machine"),
    (("generate", "MODEL", "--prompt", "Hi", "--device", "meta"), 2, "no device 'meta' on this machine"),
    (("generate", "MODEL", "--prompt", "Hi", "--dtype", "__dict__"), 2, "dtype '__dict__' is not supported"),
    (("generate", "MODEL", "--prompt", "Hi", "--max-new-tokens", "999"), 2, "A reply of 999 tokens does not fit"),
    (("generate", "MODEL", "--prompt", "a\udce9b"), 2, "not UTF-8"),
    (("generate", "MODEL", "--prompt", "Hi", "--recipe", "hollow"), 1, "There is no file hollow/recipe.json"),
    (
        ("generate", "MODEL", "--prompt", "Hi", "--direction", "DIRECTION", "--add", "1e38"),
        1,
        "logits are not finite numbers",
    ),
    (("find", "MODEL", "--method", "magic", "--no-filter"), 2, "There is no method called 'magic'"),
    (("find", "NOWHERE", "--no-filter"), 1, "has no config.json"),
    (("find", "no/such-model"), 1, "could not be downloaded"),
    (("generate", "MODEL"), 2, "Give either --prompt TEXT"),
    (("generate", "MODEL", "--prompt", " "), 2, "is empty"),
    (("generate", "BASE", "--prompt", "Hi"), 1, "has no chat template"),
    (("generate", "MODEL", "--prompt", "Hi", "--direction", "none", "--ablate"), 2, "There is no direction at none"),
    (("generate", "MODEL", "--prompt", "Hi", "--direction", "DIRECTION"), 2, "Say what to do with the direction"),
    (("generate", "MODEL", "--prompt", "Hi", "--ablate"), 2, "need --direction"),
    (("generate", "OTHER", "--prompt", "Hi", "--direction", "DIRECTION", "--ablate"), 2, "was found in llama"),
    (("generate", "WIDE", "--prompt", "Hi", "--direction", "DIRECTION", "--ablate"), 2, "is 32 wide"),
    (("evaluate", "MODEL"), 2, "the recipe is empty"),
    (("evaluate", "MODEL", "--direction", "DIRECTION", "--ablate", "--judge", "me"), 2, "no judge called 'me'"),
    (
        ("card", "MODEL", "--direction", "DIRECTION", "--harmful", "a", "--harmful", "b"),
        2,
        "2 --harmful and 1 --harmless",
    ),
    (("card", "OTHER", "--direction", "DIRECTION"), 2, "was found in llama"),
    (("find", "MODEL", "--no-filter", "--search", "magic"), 2, "no search called 'magic'"),
    (("runs", "verify", "nowhere"), 1, "is not a run folder"),
    (("generate", "MODEL", "--prompt", "Hi", "--no-such-option"), 2, "No such option"),
    (("nonsense",), 2, "No such command"),
]


@pytest.mark.parametrize(("arguments", "status", "says"), BAD, ids=[bad[2] for bad in BAD])
def test_bad_input_is_one_clear_sentence(
    run: Run,
    tiny_folders: dict[str, Path],
    direction: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes("café".encode("latin-1"))
    Path("columns.csv").write_text("text,kind\nhello,x\n")
    Path("empty.txt").write_text("\n\n")
    Path("tiny.txt").write_text("one\n")
    Path("long.txt").write_text("\n".join(f"{n:02d}" + "x" * (500 if n == 15 else 9 + n) for n in range(20)))
    Path("hollow").mkdir()
    names = {"MODEL": tiny_folders["llama"], "OTHER": tiny_folders["phi3"], "NOWHERE": "hollow", "DIRECTION": direction}
    if "BASE" in arguments:
        names["BASE"] = save_model("gpt2", tmp_path / "base", template=None)
    if "WIDE" in arguments:
        names["WIDE"] = _wide(tmp_path / "wide", monkeypatch)
    before = set(tmp_path.rglob("*"))
    found, out, err = run(*[names.get(word, word) for word in arguments])
    flat = " ".join(err.split())
    assert found == status, err
    assert says in flat
    assert "Traceback" not in err
    assert out == ""
    left = {path for path in set(tmp_path.rglob("*")) - before if "cache" not in path.parts}
    assert not [path for path in left if path.suffix in (".safetensors", ".html") or path.name == "results.json"]


NEEDS_NO_MODEL = [
    (("find", "MODEL", "--harmful", "tiny.txt"), "needs at least 8 prompts and tiny.txt has 1"),
    (("find", "MODEL", "--method", "magic"), "There is no method called 'magic'"),
    (("find", "MODEL", "--search", "magic"), "There is no search called 'magic'"),
    (("evaluate", "MODEL", "--direction", "DIRECTION", "--ablate", "--judge", "me"), "no judge called 'me'"),
    (("evaluate", "MODEL", "--direction", "DIRECTION", "--ablate", "--truthfulqa", "no.csv"), "no file no.csv"),
    (("evaluate", "MODEL", "--direction", "DIRECTION", "--ablate", "--suite", "magic"), "no suite 'magic'"),
    (("evaluate", "MODEL", "--direction", "DIRECTION", "--ablate", "--harmless", "empty.txt"), "has no prompts"),
    (("generate", "MODEL", "--prompt", "Hi", "--recipe", "hollow"), "There is no file hollow/recipe.json"),
]


@pytest.mark.parametrize(("arguments", "says"), NEEDS_NO_MODEL, ids=[" ".join(bad[0][2:]) for bad in NEEDS_NO_MODEL])
def test_what_needs_no_model_is_said_before_one_is_opened(
    run: Run, direction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n\n")
    Path("tiny.txt").write_text("one\n")
    Path("hollow").mkdir()
    monkeypatch.setattr("workbench.cli.options.open_subject", lambda *_: pytest.fail("a model was opened"))
    _, out, err = run(*[direction if word == "DIRECTION" else word for word in arguments])
    assert (out, says in " ".join(err.split())) == ("", True), err


def _wide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tests import tiny

    kind, options = tiny.CONFIGS["llama"]
    monkeypatch.setitem(tiny.CONFIGS, "llama", (kind, options | {"hidden_size": 48}))
    return save_model("llama", folder)


def test_a_full_disk_is_one_sentence_and_leaves_no_half(
    run: Run, model: Path, direction: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("workbench.runs.files.os.replace", full)
    options = ("evaluate", model, "--direction", direction, "--ablate", "--n", 2, "--out", tmp_path / "r")
    status, _, err = run(*options)
    assert status == 1
    assert "The disk is full" in err
    assert not (tmp_path / "r").exists() or not any((tmp_path / "r").iterdir())


def test_a_port_in_use_is_said_before_anybody_is_sent_there(run: Run) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = f"workbench: Port {port} is in use already; choose another with --port.\n"
        assert run("app", "--port", port) == (2, "", said)
    assert "--address" in run("app", "--address", "192.0.2.1")[2]


@pytest.mark.parametrize(("typed", "number", "finished"), [("ru", 1, "runs"), ("runs ver", 2, "verify")])
def test_the_tab_key_finishes_commands(typed: str, number: int, finished: str) -> None:
    asked = {"_WORKBENCH_COMPLETE": "complete_bash", "COMP_WORDS": f"workbench {typed}", "COMP_CWORD": str(number)}
    command = [Path(sys.executable).parent / "workbench"]
    assert subprocess.run(command, env=os.environ | asked, capture_output=True, text=True).stdout.split() == [finished]
