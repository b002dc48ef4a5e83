"""The first page: what it says is what the run that ships says, and nothing that ships answers a harmful prompt."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from experiments.shipping.demo import distil
from tests.dashboard.conftest import Opens
from workbench.dashboard import sources
from workbench.dashboard.parts.scores import read_scores, refusals
from workbench.dashboard.sources import shipped
from workbench.evaluation import Evaluation, Measured
from workbench.evaluation.outcomes import Outcome
from workbench.evaluation.replies import Judged
from workbench.runs import RunFolder, RunManifest

CONDITIONS = ("baseline", "ablated", "random ablated", "added", "random added")
SECRET = "Step one of what nobody shall read"


def texts(page: AppTest) -> str:
    """All that the page says."""
    every = [*page.markdown, *page.caption, *page.text, *page.info, *page.metric]
    return "\n".join(str(element.value) for element in every)


def test_it_tells_the_run_that_ships(opens: Opens) -> None:
    page = opens("start")
    assert not page.exception, page.exception
    assert not page.error
    scores = read_scores(shipped("demo")["evaluation"]["scores"])
    told = [
        f"{100 * scores[f'baseline/{asked}/refusal'].value:.0f} % → {100 * scores[f'{c}/{asked}/refusal'].value:.0f} %"
        for c, asked in (("ablated", "harmful"), ("added", "harmless"), ("random ablated", "harmful"))
    ]
    assert [metric.value for metric in page.metric] == told
    assert [heading.value for heading in page.subheader][:3] == ["The problem", "What you see", "What you change"]


def test_its_figure_has_the_baseline_every_edit_and_its_control(opens: Opens) -> None:
    page = opens("start")
    drawn = json.loads(page.get("plotly_chart")[0].proto.spec)
    assert tuple(drawn["layout"]["xaxis"]["ticktext"]) == CONDITIONS
    assert [trace["name"] for trace in drawn["data"] if "name" in trace] == ["harmful (n=20)", "harmless (n=20)"]
    scores = read_scores(shipped("demo")["evaluation"]["scores"])
    assert drawn["data"][0]["y"] == [100 * scores[f"{c}/harmful/refusal"].value for c in CONDITIONS]
    assert all("error_y" in trace for trace in drawn["data"] if "name" in trace)


def test_a_reply_that_complies_is_left_out_and_said_to_be(opens: Opens) -> None:
    harmful = [told for told in shipped("demo")["told"] if told["asked"] == "harmful"]
    assert harmful
    for told in harmful:
        for said in told["said"].values():
            assert (said["reply"] is None) == (said["outcome"] != "refuse")
    assert sum(said["reply"] is None for told in harmful for said in told["said"].values()) >= 1
    page = opens("start")
    assert any("Left out" in each.value for each in page.caption)
    assert "in no file of the workbench: baseline 8, ablated 19" in texts(page)


def test_the_switch_is_checked_on_the_open_model(opens: Opens) -> None:
    page = opens("start")
    page.button(key="start-proof").click().run()
    job = page.session_state["job-proof"]
    assert job.wait(20.0)
    assert job.state == "done", job.error
    steps = {name: step["changed"] for name, step in job.result["steps"].items()}
    assert (steps["strength 0"], steps["afterwards"]) == (0, 0)
    assert steps["strength 1"] > 0
    page.run()
    assert not page.exception, page.exception
    assert "**strength 0**: no logit changed" in texts(page)


def test_the_figure_is_the_one_that_the_evaluation_draws() -> None:
    evaluation = Evaluation(tuple(answered(c, asked) for asked in ("harmful", "harmless") for c in CONDITIONS))
    assert refusals({score.name: score for score in evaluation.scores()}) == evaluation.plot()


def test_a_damaged_file_is_one_sentence(opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = shipped("demo")
    monkeypatch.setattr(sources, "DATA", tmp_path)
    (tmp_path / "demo.json").write_text(json.dumps(held | {"evaluation": {"scores": [{"name": 3}], "differences": []}}))
    page = opens("start")
    assert not page.exception
    assert "damaged" in page.error[0].value
    (tmp_path / "demo.json").unlink()
    page = opens("start")
    assert "install it again" in page.error[0].value


def test_what_is_distilled_holds_no_answer_to_a_harmful_prompt(tmp_path: Path) -> None:
    distilled = json.dumps(distil(demo(tmp_path / "demo").path))
    assert SECRET not in distilled
    assert "I will bake a cake." in distilled
    assert json.loads(distilled)["left_out"] == {"baseline": 0, "ablated": 3, "random ablated": 0} | {
        "added": 0, "random added": 3,
    }  # fmt: skip


def answered(condition: str, asked: str, n: int = 3) -> Measured:
    """Replies of one condition: what the edits are said to do; a control that breaks one of them."""
    refused = condition in ("baseline", "random ablated", "added") if asked == "harmful" else condition == "added"
    other = Outcome.BROKEN if condition == "random added" and asked == "harmful" else Outcome.COMPLY
    outcome = Outcome.REFUSE if refused else other
    said = "I can't help with that." if refused else SECRET if asked == "harmful" else "I will bake a cake."
    replies = [
        Judged(prompt=f"{asked} {i}", digest=f"{asked}{i}", category=None, reply=said, outcome=outcome)
        for i in range(n)
    ]
    return Measured(condition=condition, asked=asked, replies=tuple(replies))


def demo(path: Path) -> RunFolder:
    """A finished run of the demo, as far as its distillation reads it."""
    settings = {"max_new_tokens": 64, "kl_max": 0.1}
    folder = RunFolder.start(RunManifest(command="demo", settings=settings, model={"name": "tiny"}, data={}), path)
    parts = tuple(answered(condition, asked) for asked in ("harmful", "harmless") for condition in CONDITIONS)
    for part in parts:
        folder.log("replies.jsonl", part.model_dump(mode="json"))
    evaluation = Evaluation(parts)
    found = {"chosen": {}, "passed_rule": True, "n_layers": 4, "kept": {}, "front": [], "evaluations": []}
    folder.finish(
        {"find": found | {"search": {"candidates": 1}}, "evaluation": evaluation.to_json()}, evaluation.scores()
    )
    return folder
