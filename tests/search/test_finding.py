"""The search against a slow version of the paper's, and its manners: filters, resuming, errors."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from workbench.directions import Direction
from workbench.errors import PromptError, RunError, SearchError, UsageError
from workbench.evaluation.refusal import refusal_tokens, score_from_quality
from workbench.models import Site, Subject, token_rows
from workbench.prompts import ContrastPairs, Prompts, builtin_pairs
from workbench.runs import RunFolder
from workbench.search import (
    SearchSettings,
    find_direction,
    finding,
    record_find,
    rederive_find,
    refusal_metric,
    scoring,
)

PAIRS = ContrastPairs(
    Prompts.of([f"Do the bad thing number {n} now!" for n in range(16)], "harmful"),
    Prompts.of([f"What is the good of the number {n}?" for n in range(16)], "harmless"),
)
SETTINGS = SearchSettings(
    n_train=8, n_val=4, filtered=False, refusal_starts=("I", "A"), batch_size=3, strategy="exhaustive"
)


def test_the_metric_is_the_log_odds_in_float64() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5], [1e-30, 1e-30, 1.0]]))
    found = refusal_metric(logits, [0, 1])
    assert found.dtype == torch.float64
    assert float(found[0]) == pytest.approx(math.log(0.5 / 0.5), abs=1e-6)
    assert float(found[1]) == pytest.approx(math.log(1e-8) - math.log(1 + 1e-8), abs=1e-6)


def test_scores_equal_a_slow_version_with_plain_hooks(llama: Subject, tiny_folders: dict[str, Path]) -> None:
    """The paper's three scores, written anew on the plain transformers model, a prompt at a time."""
    found = find_direction(llama, PAIRS, settings=SETTINGS)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folders["llama"], attn_implementation="eager").eval()
    _, val = finding.draw(PAIRS, None, SETTINGS)
    harmful, harmless = (token_rows(llama, side) for side in (val.positive, val.negative))
    raw = (found.direction.unit * found.direction.scale).double()
    unit = raw / raw.norm()

    def last(row: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return plain(torch.tensor([row])).logits[0, -1].double()

    def metric(logits: torch.Tensor) -> float:
        p = torch.softmax(logits, dim=0)[list(found.tokens.ids)].sum()
        return float(torch.log(p + 1e-8) - torch.log(1 - p + 1e-8))

    def erase(acts: torch.Tensor) -> torch.Tensor:
        wide = acts.double()
        return (wide - (wide @ unit)[..., None] * unit).to(acts.dtype)

    base = [last(row) for row in harmless]
    handles = []
    for block in plain.model.layers:
        handles.append(block.register_forward_pre_hook(lambda m, a: (erase(a[0]), *a[1:])))
        handles.append(block.self_attn.register_forward_hook(lambda m, a, o: (erase(o[0]), *o[1:])))
        handles.append(block.mlp.register_forward_hook(lambda m, a, o: erase(o)))
    bypass = sum(metric(last(row)) for row in harmful) / len(harmful)
    edited = [last(row) for row in harmless]
    for handle in handles:
        handle.remove()
    divergence = sum(
        float((b.softmax(0) * (b.log_softmax(0) - e.log_softmax(0))).sum()) for b, e in zip(base, edited, strict=True)
    )
    block = plain.model.layers[found.row["layer"]]
    handle = block.register_forward_pre_hook(lambda m, a: ((a[0].double() + raw).to(a[0].dtype), *a[1:]))
    induce = sum(metric(last(row)) for row in harmless) / len(harmless)
    handle.remove()
    assert found.row["refusal_score"] == pytest.approx(bypass, abs=1e-3)
    assert found.row["steering_score"] == pytest.approx(induce, abs=1e-3)
    assert found.row["kl_div_score"] == pytest.approx(divergence / len(base), abs=1e-3)


def test_validation_is_held_out_of_training() -> None:
    train, val = finding.draw(PAIRS, None, SETTINGS)
    for ours, theirs in ((train.positive, val.positive), (train.negative, val.negative)):
        assert len(ours) == 8
        assert len(theirs) == 4
        assert not {p.digest for p in ours} & {p.digest for p in theirs}


def test_given_validation_prompts_are_never_trained_on() -> None:
    given = ContrastPairs(PAIRS.positive[:4], PAIRS.negative[:4])
    train, val = finding.draw(PAIRS, given, SETTINGS)
    assert {p.digest for p in val.positive} == {p.digest for p in PAIRS.positive[:4]}
    assert not {p.digest for p in train.positive} & {p.digest for p in val.positive}


def test_the_whole_grid_is_scored_but_for_empty_places(llama: Subject) -> None:
    found = find_direction(llama, PAIRS, settings=SETTINGS)
    # Template tokens hold nothing of the prompt at layer 0, so 3 positions x 2 layers are left.
    assert {(r["position"], r["layer"]) for r in found.evaluations} == {(p, y) for p in (-3, -2, -1) for y in (1, 2)}
    assert found.row["layer"] < 2
    assert found.to_pandas().shape == (6, 11)
    low, high = found.row["intervals"]["kl_div_score"]
    assert low <= found.row["kl_div_score"] <= high
    assert found.row["n"]["kl_div_score"] == 4
    kept = score_from_quality("kl_div_score", found.direction.quality)
    assert kept is not None
    assert (kept.value, kept.low, kept.high, kept.n) == (found.row["kl_div_score"], low, high, 4)
    assert len(found.plot().data) == 3


def test_a_model_that_lacks_the_behaviour_is_a_clear_result(llama: Subject) -> None:
    settings = SearchSettings(n_train=8, n_val=4, refusal_starts=("I", "A"))
    with pytest.raises(SearchError, match=r"0 of 8 harmful prompts are refused .*--no-filter"):
        find_direction(llama, PAIRS, settings=settings)


def test_an_unknown_family_needs_refusals_of_its_own(tiny_subjects: dict[str, Subject]) -> None:
    with pytest.raises(SearchError, match=r"gpt2 refused none of 16 harmful prompts.*--refusal-token"):
        refusal_tokens(tiny_subjects["gpt2"], PAIRS.positive)
    assert refusal_tokens(tiny_subjects["llama"], PAIRS.positive).source == "Arditi et al. 2024 for llama"


@pytest.mark.parametrize(
    ("name", "architecture", "known"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2", True),
        ("my-own", "qwen2", True),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama", True),
        ("01-ai/Yi-6B-Chat", "llama", True),
        ("smollm2-135m-instruct", "llama", False),
        ("tinyllama-chat", "llama", False),
        ("yield", "llama", False),
    ],
)
def test_a_family_is_the_models_and_not_its_architectures(
    tiny_subjects: dict[str, Subject], name: str, architecture: str, known: bool
) -> None:
    subject = replace(tiny_subjects[architecture], name=name)
    if known:
        assert refusal_tokens(subject, PAIRS.positive).source.startswith("Arditi et al. 2024")
    else:
        with pytest.raises(SearchError, match="name them with --refusal-token"):
            refusal_tokens(subject, PAIRS.positive)


def test_categories_decide_which_prompts_are_drawn_and_so_the_run(llama: Subject, tmp_path: Path) -> None:
    def sides(step: int) -> ContrastPairs:
        return ContrastPairs(*(
            Prompts(tuple(p.model_copy(update={"category": str(n // step)}) for n, p in enumerate(side)))
            for side in (PAIRS.positive, PAIRS.negative)
        ))  # fmt: skip

    assert sides(2).digest == sides(8).digest
    record_find(llama, sides(2), settings=SETTINGS, out=tmp_path / "r")
    with pytest.raises(RunError, match="holds another run"):
        record_find(llama, sides(8), settings=SETTINGS, out=tmp_path / "r")


def test_a_corrected_command_may_have_the_folder_of_one_that_failed(llama: Subject, tmp_path: Path) -> None:
    wrong = replace(SETTINGS, method="magic")
    with pytest.raises(UsageError, match="no method"):
        record_find(llama, PAIRS, settings=wrong, out=tmp_path / "r")
    assert record_find(llama, PAIRS, settings=SETTINGS, out=tmp_path / "r").done


def test_a_direction_carries_every_prompt_that_the_search_saw(llama: Subject) -> None:
    found = find_direction(llama, PAIRS, settings=SETTINGS)
    train, val = finding.draw(PAIRS, None, SETTINGS)
    drawn = [p.digest for pairs in (train, val) for side in (pairs.positive, pairs.negative) for p in side]
    assert found.direction.seen == set(drawn)
    assert len(drawn) == 24


@pytest.mark.parametrize("line", ["7", '{"position": -1}', '{"position": -1, "layer": "x"}'])
def test_a_damaged_journal_is_one_sentence(llama: Subject, tmp_path: Path, line: str) -> None:
    folder = record_find(llama, PAIRS, settings=SETTINGS, out=tmp_path / "r")
    with (folder.path / "measurements.jsonl").open("a") as journal:
        journal.write(line + "\n")
    with pytest.raises(RunError, match=r"measurements.jsonl is damaged \(line 18"):
        rederive_find(folder)


def test_a_candidate_without_a_number_verifies_all_the_same(
    llama: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scoring.Scorer.measure

    def breaking(self: scoring.Scorer, score: str, direction: Direction, prompts: list[int]) -> list[float]:
        values = real(self, score, direction, prompts)
        return [math.nan] * len(values) if (score, direction.site.layer) == ("kl_div_score", 2) else values

    monkeypatch.setattr(scoring.Scorer, "measure", breaking)
    folder = record_find(llama, PAIRS, settings=SETTINGS, out=tmp_path / "r")
    assert folder.results()["dropped"]["not a number"] == 3
    assert rederive_find(RunFolder.open(tmp_path / "r")) == []


def test_too_few_prompts_are_an_error(llama: Subject) -> None:
    small = ContrastPairs(PAIRS.positive[:3], PAIRS.negative)
    with pytest.raises(PromptError, match="needs at least 8 prompts and prompts has 3"):
        find_direction(llama, small, settings=SETTINGS)
    with pytest.raises(PromptError, match="positive side of the contrast is empty"):
        ContrastPairs(PAIRS.positive[:0], PAIRS.negative)


def test_a_search_is_written_down_and_verifies(llama: Subject, tmp_path: Path) -> None:
    folder = record_find(llama, PAIRS, settings=SETTINGS, out=tmp_path / "r")
    assert rederive_find(folder) == []
    assert folder.changed_files() == []
    again = record_find(llama, PAIRS, settings=SETTINGS, out=tmp_path / "r")
    assert again.results() == folder.results()
    journal = folder.path / "measurements.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    rows[0]["values"][0] -= 100
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert rederive_find(folder) == ["The journal of measurements does not lead to the table in the results."]
    assert folder.changed_files() == ["measurements.jsonl"]


@pytest.mark.long
@pytest.mark.parametrize("search", ["exhaustive", "screened"])
def test_a_killed_search_goes_on_where_it_was_and_gives_the_same_result(
    tiny_folders: dict[str, Path], tmp_path: Path, search: str
) -> None:
    whole, killed = (_command(tiny_folders["gemma3"], tmp_path / name, search) for name in ("whole", "killed"))
    subprocess.run(whole, check=True, capture_output=True)
    process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "measurements.jsonl"
    while not journal.exists() or len(journal.read_bytes().splitlines()) < 3:
        assert process.poll() is None, "the search ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, all_of_it = (
        len(RunFolder.open(tmp_path / name).journal("measurements.jsonl", object)) for name in ("killed", "whole")
    )
    assert 3 <= done < all_of_it
    subprocess.run(killed, check=True, capture_output=True)
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed")]
    assert found[0] == found[1]
    bits = [(tmp_path / name / "direction.safetensors").read_bytes() for name in ("whole", "killed")]
    assert bits[0] == bits[1]


def _command(model: Path, out: Path, search: str = "exhaustive") -> list[str]:
    sets = []
    for name, side in (("harmful", PAIRS.positive), ("harmless", PAIRS.negative)):
        file = out.parent / f"{name}.txt"
        file.write_text("\n".join(prompt.text for prompt in side))
        sets += [f"--{name}", str(file)]
    options = ["--no-filter", "--n-val", "8", "--refusal-token", "I", "--dtype", "float32"]
    options += ["--search", search, "--out", str(out), "--json"]
    # A process that was started in the background ignores Ctrl-C unless it says otherwise.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; import torch; torch.set_num_threads(1); from workbench.cli.main import main; main()"
    return [sys.executable, "-c", code, "find", str(model), *sets, *options]


def test_ctrl_c_leaves_things_whole(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    command = _command(tiny_folders["gemma3"], tmp_path / "run")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run" / "measurements.jsonl"
    while not journal.exists() or not journal.read_bytes():
        assert process.poll() is None, "the search ended before it could be stopped"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Stopped." in err
    assert out == ""
    assert RunFolder.open(tmp_path / "run").manifest.status == "running"
    assert [name for name in os.listdir(tmp_path / "run") if name.startswith(".")] == [".lock"]


@pytest.mark.parametrize("wrong", [{"method": "difference-in-modes"}, {"strategy": "exhausting"}])
def test_a_wrong_name_is_said_before_the_model_is_asked(llama: Subject, wrong: dict[str, str]) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("The model was asked.")

    with llama.hooked([(Site(0, "resid_pre"), asked)]), pytest.raises(UsageError, match=next(iter(wrong.values()))):
        find_direction(llama, builtin_pairs("train"), settings=SearchSettings(**wrong))  # type: ignore[arg-type]
