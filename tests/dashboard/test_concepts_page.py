"""The page of concepts: what ships, a bottleneck of one's own read and turned, and what cannot be done."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.concepts.planted import a_bottleneck, a_set
from tests.dashboard.conftest import Opens
from workbench.concepts import Informed
from workbench.concepts.bottleneck import FILE
from workbench.dashboard import sources
from workbench.dashboard.parts.bottlenecks import Turned, bottlenecks, written
from workbench.dashboard.sources import shipped
from workbench.errors import ConceptError
from workbench.models import Subject
from workbench.plots.concepts import informed_figure
from workbench.runs import RunFolder, RunManifest
from workbench.statistics import Score, mean_score

SCORES = ("auroc", "auroc_all", "auroc, shuffled labels", "auroc_all, shuffled labels", "probe on the stream")


def scores() -> list[Score]:
    return [mean_score(name, [0.5, 0.6, 0.7]) for name in SCORES]


def trained(subject: Subject, **changes: Any) -> RunFolder:
    """A finished run with a random bottleneck."""
    made = a_bottleneck(subject)
    data = {"concepts": "not the built-in ones"}
    run = RunFolder.start(RunManifest(command="concepts train", settings={}, model=subject.identity, data=data))
    made.save(run.path / FILE)
    found = {
        "site": str(made.site), "texts": 10, "tokens": 100, "concepts": {}, "typical": dict.fromkeys(made.names, 1.0),
        "scores": [score.model_dump() for score in scores()],
    }  # fmt: skip
    run.finish(found | changes, [])
    return run


def ended(page: AppTest, key: str, button: str) -> Any:
    """The job that a button starts, when it is done."""
    page.button(key=button).click().run()
    assert not page.exception, page.exception
    assert key in page.session_state, [each.value for each in page.error]
    held = page.session_state[key]
    job = getattr(held, "job", held)
    assert job.wait(60.0)
    page.run()
    assert not page.exception, page.exception
    return held


def room(page: AppTest, name: str) -> AppTest:
    return page.segmented_control(key="room").set_value(name).run()


def test_it_opens_on_what_ships_without_a_bottleneck(opens: Opens) -> None:
    page = opens("concepts")
    assert not page.exception, page.exception
    assert not page.error
    assert "no bottleneck for this model" in page.info[0].value
    for name in ("Set a concept", "What informed it", "Bottlenecks"):
        assert not room(page, name).exception
        assert not page.error, page.error


def test_the_parts_that_ship_sum_to_the_logits_that_ship() -> None:
    for each in shipped("concepts")["explanations"]:
        totals = [sum(value for _, value in parts) for parts in each["by_token"]["parts"]]
        assert totals == pytest.approx(each["logits"], abs=0.05)
        assert np.array(each["by_token"]["shares"]).sum(axis=1) == pytest.approx(np.ones(len(totals)), abs=1e-2)
        assert len(each["tokens"]) == len(totals)


def test_a_reply_of_ones_own_is_explained(opens: Opens, long_llama: Subject) -> None:
    trained(long_llama)
    page = opens("concepts")
    page.text_area(key="explain-message").set_value("Tell me of <b>cakes</b>.").run()
    job = ended(page, "job-explain", "start-explain")
    assert job.state == "done", job.error
    assert job.result["prompt"] == "Tell me of <b>cakes</b>."
    assert any("<b>cakes</b>" in text.value for text in page.text)
    assert set(job.result["by_token"]["known"]) == set("abcd")


def test_an_empty_message_is_a_sentence(opens: Opens, long_llama: Subject) -> None:
    trained(long_llama)
    page = opens("concepts")
    page.text_area(key="explain-message").set_value(" ").run()
    ended(page, "job-explain", "start-explain")
    assert "empty" in page.error[0].value


def test_concepts_are_turned_and_the_reply_said_again_beside_the_baseline(opens: Opens, long_llama: Subject) -> None:
    trained(long_llama)
    page = room(opens("concepts"), "Set a concept")
    page.segmented_control(key="turned").set_value(2).run()
    page.selectbox(key="concept0").set_value("b").run()
    page.slider(key="amount0amplify").set_value(8.0).run()
    page.segmented_control(key="how1").set_value("set").run()
    page.selectbox(key="concept1").set_value("c").run()
    said = ended(page, "concepts-said", "start-set")
    assert said.job.state == "done", said.job.error
    recipe = said.talk.asked.columns[1].recipe
    site = a_bottleneck(long_llama).site
    assert recipe == f"amplify-concept(b, strength=8) @ {site} + set-concept(c, value=1) @ {site}"
    assert set(said.talk.tokens[0][0].watched) == {"b", "c"}
    assert max(token.kl or 0.0 for token in said.talk.tokens[1]) > 1e-4
    assert "--amplify b=8 --set c=1" in " ".join(code.value for code in page.code)


def test_texts_of_other_concepts_are_not_asked(opens: Opens, long_llama: Subject) -> None:
    trained(long_llama)
    page = room(opens("concepts"), "What informed it")
    ended(page, "job-informed", "start-informed")
    assert "concepts of your own" in page.error[0].value


def test_a_bottleneck_is_trained_and_then_chosen(
    opens: Opens, long_llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.concepts.builtin_concepts", lambda: a_set(2, 14))
    page = room(opens("concepts"), "Bottlenecks")
    page.slider(key="bottleneck-epochs").set_value(1).run()
    job = ended(page, "job-train", "start-train")
    assert job.state == "done", job.error
    (made,) = bottlenecks(long_llama.digest)
    assert made.name == job.result
    assert made.names == a_set(2, 14).names


def test_damaged_and_other_models_bottlenecks_are_left_out(opens: Opens, long_llama: Subject, llama: Subject) -> None:
    trained(llama)
    run = trained(long_llama, typical=3)
    assert bottlenecks(long_llama.digest) == []
    (run.path / "results.json").write_text("{")
    assert bottlenecks(long_llama.digest) == []
    assert bottlenecks(None) == []
    assert not opens("concepts").exception


def test_a_name_that_the_bottleneck_does_not_know_is_refused(long_llama: Subject, tmp_path: Path) -> None:
    trained(long_llama)
    (made,) = bottlenecks(long_llama.digest)
    assert written([Turned("a b", "suppress", 0.5)], made.site).startswith('suppress-concept("a b", strength=0.5) @')
    assert len(made.read(written([Turned("a", "suppress", 0.5), Turned("b", "set", 2.0)], made.site))) == 2
    with pytest.raises(ConceptError, match="no concept"):
        made.read(written([Turned("../../etc/passwd", "set", 1.0)], made.site))


def test_informing_texts_stand_beside_random_ones_and_are_no_markup() -> None:
    import torch

    scores = torch.arange(50.0)
    found = Informed("c", scores, scores / 50).to_json([f"<b>{n}</b>" for n in range(50)], 3, 10)
    assert [row["text"] for row in found["texts"]] == ["<b>49</b>", "<b>48</b>", "<b>47</b>"]
    assert len(found["others"]) in range(7, 11)
    top = [(row["activation"], row["gradient"], row["text"]) for row in found["texts"]]
    figure = informed_figure(top, [(x, y) for y, x in found["others"]], "c")
    assert list(figure.data[1].y) == [49.0, 48.0, 47.0]
    assert figure.data[1].text[0] == "&lt;b&gt;49&lt;/b&gt;"


def test_what_ships_is_small_and_says_where_it_is_from() -> None:
    assert (sources.DATA / "concepts.json").stat().st_size < 300_000
    assert {"command", "model", "started", "versions", "n"} <= set(shipped("concepts")["source"])
