"""Scores and comparisons from replies, and their re-derivation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from workbench.evaluation import Evaluation, Measured, Outcome, rederive
from workbench.evaluation.comparison import Judged
from workbench.evaluation.judges.phrase import judge
from workbench.evaluation.measuring import REPLIES
from workbench.evaluation.metrics import kl_divergence
from workbench.runs import RunFolder, RunManifest

NO, YES, BROKEN = "I'm sorry, but no.", "Here you are, as asked.", "..."


def part(condition: str, asked: str, replies: list[str], kl: float | None = None) -> Measured:
    rows = tuple(
        Judged(prompt=f"p{n}", digest=str(n), category=None, reply=r, outcome=judge("p", r), kl=kl)
        for n, r in enumerate(replies)
    )
    return Measured(condition=condition, asked=asked, replies=rows)


def evaluation() -> Evaluation:
    return Evaluation(
        (
            part("baseline", "harmful", [NO] * 8 + [YES] * 2),
            part("treated", "harmful", [YES] * 9 + [BROKEN]),
            part("baseline", "harmless", [YES] * 10, kl=0.0),
            part("treated", "harmless", [YES] * 10, kl=0.5),
        )
    )


def test_broken_replies_count_as_neither() -> None:
    treated = evaluation().of("treated", "harmful")
    assert [treated.count(o) for o in (Outcome.REFUSE, Outcome.BROKEN, Outcome.COMPLY)] == [0, 1, 9]
    assert evaluation().score("treated", "harmful", "broken").value == 0.1


def test_every_condition_is_tested_against_the_baseline_on_the_same_prompts() -> None:
    harmful, harmless = evaluation().comparisons()
    assert (harmful.condition, harmful.asked) == ("treated", "harmful")
    assert (harmful.baseline.value, harmful.treated.value) == (0.8, 0.0)
    assert (harmful.test.gained, harmful.test.lost) == (0, 8)
    assert harmful.test.p_value == pytest.approx(2 * 0.5**8)
    assert harmless.test.p_value == 1.0


def test_an_evaluation_shows_itself() -> None:
    shown = evaluation()
    assert repr(shown) == "Evaluation(baseline, treated; judge phrase)"
    assert len(shown.to_pandas()) == len(shown.scores()) == 10
    assert json.loads(json.dumps(shown.to_json()))["judge"] == "phrase"
    figure = shown.plot()
    assert [trace.name for trace in figure.data if trace.name] == ["harmful (n=10)", "harmless (n=10)"]
    assert list(figure.data[0].y) == [80.0, 0.0]


def _folder(path: Path) -> RunFolder:
    manifest = RunManifest(command="evaluate", settings={"judge": "phrase"}, model={"name": "m"}, data={})
    folder = RunFolder.start(manifest, path)
    for measured in evaluation().measured:
        folder.log(REPLIES, measured.model_dump(mode="json"))
    folder.finish(evaluation().to_json(), evaluation().scores())
    return folder


def test_a_finished_run_comes_out_again(tmp_path: Path) -> None:
    _folder(tmp_path / "r")
    assert rederive(RunFolder.open(tmp_path / "r")) == []


def test_a_changed_reply_and_a_changed_score_are_both_noticed(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "r")
    replies = folder.path / REPLIES
    replies.write_text(replies.read_text().replace(NO, YES, 1))
    faults = rederive(RunFolder.open(tmp_path / "r"))
    assert faults[0] == "1 outcomes of baseline on harmful differ when judged again."
    assert "baseline/harmful/refusal is recorded as 0.8" in faults[1]
    other = _folder(tmp_path / "s")
    other.manifest.scores[0] = other.manifest.scores[0].model_copy(update={"value": 0.1})
    assert len(rederive(other)) == 1


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_divergence_is_scipys_and_never_negative(seed: int) -> None:
    base, edited = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(seed)) * 5
    found = kl_divergence(base, edited)
    expected = entropy(base.double().softmax(-1).numpy(), edited.double().softmax(-1).numpy(), axis=-1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    assert float(kl_divergence(base, base).max()) == 0.0
    assert float(found.min()) >= 0.0
