"""lm-eval on the live model: what it finds without an edit is what it finds on the plain model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from tests.conftest import random_direction
from tests.harness_tasks import write_tasks
from workbench.errors import UsageError
from workbench.evaluation.continuations import as_question, continuation_logprobs
from workbench.evaluation.harnessed import EditedModel, load, run
from workbench.evaluation.metrics import Ground, metrics
from workbench.evaluation.metrics import harness as harness_module
from workbench.evaluation.metrics.choices import Choices, choices
from workbench.evaluation.metrics.harness import Harness
from workbench.interventions import Add, Recipe
from workbench.models import Subject


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tasks on the built-in questions."""
    return write_tasks(tmp_path / "tasks")


def _logprobs(samples: Mapping[str, Any], task: str) -> list[float]:
    return [float(pair[0]) for sample in samples[task] for pair in sample["filtered_resps"]]


@pytest.mark.parametrize("task", ["workbench_options", "workbench_few"])
def test_without_an_edit_it_is_the_harness_on_the_plain_model(
    llama: Subject, tiny_folders: dict[str, Path], folder: Path, task: str
) -> None:
    ours = run(llama, Recipe(), load([task], folder), 12, 8)
    plain = HFLM(AutoModelForCausalLM.from_pretrained(tiny_folders["llama"]), tokenizer=llama.tokenizer, batch_size=4)
    loaded = load([task], folder)
    loaded["tasks"][task].set_fewshot_seed(seed=1234)  # as lm-eval's own command does
    theirs = evaluate(plain, loaded, limit=12, bootstrap_iters=0)["samples"]
    assert _logprobs(ours, task) == pytest.approx(_logprobs(theirs, task), abs=1e-4)
    assert [sample["acc"] for sample in ours[task]] == [sample["acc"] for sample in theirs[task]]
    assert [sample["arguments"] for sample in ours[task]] == [sample["arguments"] for sample in theirs[task]]


def test_rows_too_long_lose_their_beginning_as_in_the_plain_harness(
    llama: Subject, tiny_folders: dict[str, Path]
) -> None:
    plain = HFLM(AutoModelForCausalLM.from_pretrained(tiny_folders["llama"]), tokenizer=llama.tokenizer)
    requests = [(("", ""), [5 + i % 90 for i in range(300)], tokens) for tokens in ([7, 8, 9], [7], [9, 9])]
    ours = EditedModel(llama, Recipe(), 8)._loglikelihood_tokens(requests)
    theirs = plain._loglikelihood_tokens(requests, disable_tqdm=True)
    assert [each[0] for each in ours] == pytest.approx([each[0] for each in theirs], abs=1e-4)
    assert [each[1] for each in ours] == [each[1] for each in theirs]


def test_it_agrees_with_our_own_multiple_choice(llama: Subject, folder: Path) -> None:
    ground = Ground(llama, {})
    items = Harness(("workbench_options",), 0, folder).observe(ground, Recipe())
    own = Choices().observe(ground, Recipe())
    assert [item.values["workbench_options acc_norm"] for item in items] == [item.values["accuracy"] for item in own]
    asked = [as_question(llama, c.text, [f" {option}" for option in c.options]) for c in choices()]
    found = continuation_logprobs(llama, Recipe(), asked)
    samples = run(llama, Recipe(), load(["workbench_options"], folder), None, 8)
    totals = [sum(tokens) for answers in found for tokens in answers]
    assert _logprobs(samples, "workbench_options") == pytest.approx(totals, abs=1e-4)


def test_an_edit_acts_on_every_task(llama: Subject, folder: Path) -> None:
    loaded = load(["workbench_options"], folder)
    plain = _logprobs(run(llama, Recipe(), loaded, 6, 8), "workbench_options")
    for tokens in ("all", "generated"):
        recipe = Add(random_direction(llama)).at(1, tokens)
        edited = _logprobs(run(llama, recipe, loaded, 6, 8), "workbench_options")
        assert edited != pytest.approx(plain, abs=1e-2)


def test_observing_twice_gives_the_same_items_with_the_same_keys_under_every_recipe(
    llama: Subject, folder: Path
) -> None:
    metric, ground = Harness(("workbench_few", "workbench_options"), 5, folder), Ground(llama, {})
    items = list(metric.observe(ground, Recipe()))
    assert list(metric.observe(ground, Recipe())) == items  # also where examples are drawn
    edited = metric.observe(ground, Add(random_direction(llama)).at(1))
    assert [item.key for item in edited] == [item.key for item in items]
    assert len({item.key for item in items}) == 10
    named = {name for item in items for name in item.values}
    assert named == {measure.name for measure in metric.measured()}
    assert len(named) == 4  # two tasks are not averaged


def test_the_model_and_its_tokenizer_are_left_as_they_are(llama: Subject, folder: Path) -> None:
    before = llama.identity, llama.tokenizer.padding_side, llama.tokenizer.pad_token
    Harness(("workbench_options",), 2, folder).observe(Ground(llama, {}), Recipe())
    vars(llama).pop("identity")
    assert (llama.identity, llama.tokenizer.padding_side, llama.tokenizer.pad_token) == before


def test_a_task_that_generates_is_refused(llama: Subject, folder: Path) -> None:
    with pytest.raises(UsageError, match="workbench_said of lm-eval wants generate_until"):
        Harness(("workbench_said",), 2, folder).missing(Ground(llama, {}))


def test_what_cannot_be_measured_is_said_in_one_sentence(
    llama: Subject, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(llama, {})
    assert "No task" in Harness().missing(ground)
    assert Harness(("workbench_options",), 2, folder).missing(ground) == ""
    assert "workbench_away could not be had" in Harness(("workbench_away",), 2, folder).missing(ground)
    with pytest.raises(UsageError, match="lm-eval has no task nowhere"):
        Harness(("nowhere",), 2, folder).missing(ground)
    with pytest.raises(UsageError, match="not -3"):
        Harness((), -3)
    monkeypatch.setattr(harness_module, "find_spec", lambda name: None)
    assert "alignment-workbench[eval]" in Harness(("workbench_options",), 2, folder).missing(ground)


def test_the_identity_follows_the_tasks(folder: Path) -> None:
    first = Harness(("workbench_options",), 2, folder).identity
    assert first["name"] == metrics.name_of(Harness()) == "harness"
    (folder / "options.yaml").write_text("task: another\n", encoding="utf-8")
    assert Harness(("workbench_options",), 2, folder).identity != first
