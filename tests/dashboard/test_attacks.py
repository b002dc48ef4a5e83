"""The page of attacks: what ships, a run of one's own, what is not shown, and what cannot be read."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import random_direction
from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import worked
from workbench.dashboard import shelf
from workbench.dashboard.parts.attacked import Attacked, read_attacked
from workbench.dashboard.sources import Source, sources
from workbench.errors import RunError
from workbench.evaluation import Settings
from workbench.evaluation.replies import opens_with_refusal
from workbench.models import Subject
from workbench.plots.outcomes import outcomes_figure
from workbench.prompts import ContrastPairs, Prompts
from workbench.runs import RunFolder
from workbench.runs.files import runs_root
from workbench.statistics import rate_score
from workbench.studies import record_attacks
from workbench.studies.attacks import ATTACKS

PAIRS = ContrastPairs(Prompts.of(["Burn <b>it</b>.", "Steal it."]), Prompts.of(["Bake it.", "Paint it."]))
SHIPPED = Source("ships with the workbench")


def a_run(subject: Subject) -> RunFolder:
    how = Settings(max_new_tokens=4)
    return record_attacks(
        subject, random_direction(subject), PAIRS, settings=how, judge="phrase", out=runs_root() / "attacks-one"
    )


def replies(page: AppTest) -> list[str]:
    """What was said, without what says of each attack what it is."""
    return [each.value for each in page.text if not each.value.startswith(tuple(f"{name}: " for name in ATTACKS))]


def test_it_opens_on_what_ships(opens: Opens) -> None:
    page = opens("attacks")
    assert not page.exception, page.exception
    assert not page.error
    assert page.selectbox(key="attacked").value == SHIPPED
    assert "kappa" in " ".join(caption.value for caption in page.caption)


def test_nothing_that_complies_with_a_harmful_request_ships() -> None:
    found = read_attacked(SHIPPED)
    harmful = [each for each in found.replies if each.asked == "harmful"]
    assert harmful
    assert all(each.outcome == "refuse" or not each.text for each in harmful)
    begun = {attack: changes.get("prefill", "") for attack, changes in found.attacks.items()}
    assert all(opens_with_refusal(each.text, begun[each.attack]) for each in harmful if each.text)
    assert {"baseline", "ablated", "random ablated", "added"} <= {recipe for _, recipe in found.grid.values()}
    assert found.kappa is not None


def test_a_run_shows_refusals_alone_until_it_is_asked_for_more(opens: Opens, long_llama: Subject) -> None:
    run = a_run(long_llama)
    page = opens("attacks")
    page.selectbox(key="attacked").set_value(Source(run.path.name, run.path)).run()
    assert not page.exception, page.exception
    said = [each.text for each in read_attacked(Source(run.path.name, run.path)).said("asked plainly", "harmful",
                                                                                     "Burn <b>it</b>.")]  # fmt: skip
    assert len(said) == 5
    assert not replies(page)
    assert sum("Not shown" in caption.value for caption in page.caption) == 5
    page.toggle(key="answers").set_value(True).run()
    assert replies(page) == [text.strip() or "(nothing)" for text in said]


def test_answers_to_harmless_requests_are_shown_without_asking(opens: Opens, long_llama: Subject) -> None:
    run = a_run(long_llama)
    page = opens("attacks")
    page.selectbox(key="attacked").set_value(Source(run.path.name, run.path)).run()
    page.segmented_control(key="requests").set_value("harmless").run()
    assert not page.exception, page.exception
    assert len(replies(page)) == 5
    assert not [toggle for toggle in page.toggle if toggle.key == "answers"]


def test_a_damaged_run_is_a_sentence(opens: Opens, long_llama: Subject) -> None:
    run = a_run(long_llama)
    (run.path / "results.json").write_text('{"scores": [{"name": "x"}], "judge": 3}')
    page = opens("attacks")
    page.selectbox(key="attacked").set_value(Source(run.path.name, run.path)).run()
    assert not page.exception, page.exception
    assert "run it again" in page.error[0].value
    (run.path / "results.json").unlink()
    with pytest.raises(RunError):
        read_attacked(Source(run.path.name, run.path))


def test_an_attack_of_ones_own_is_run_and_kept(opens: Opens) -> None:
    page = opens("attacks")
    page.slider(key="attacked-n").set_value(4).run()
    page.slider(key="attacked-tokens").set_value(16).run()
    job = worked(page, "attacks")
    assert job.result in page.success[0].value
    assert job.result in [source.name for source in sources("attacks")]


def test_without_a_direction_it_says_how_to_come_by_one(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SHIPPED", {})
    page = opens("attacks")
    assert not page.exception
    assert "no direction" in page.info[-1].value


def test_the_figure_has_a_dot_for_each_rate_and_names_each_attack_once() -> None:
    scores = [rate_score("x", k, 10) for k in (6, 1, 5, 6)]
    rows = [("asked plainly", "baseline"), ("asked plainly", "ablated"), ("<i>", "baseline"), ("<i>", "random ablated")]
    figure = outcomes_figure(rows, {"refused": scores, "complied": [scores[0], None, None, None]}, {"random ablated"})
    xs = [x for trace in figure.data[:2] for x in trace.x]
    assert sorted(xs) == pytest.approx([10.0, 50.0, 60.0, 60.0])
    assert figure.data[1].marker.symbol == "circle-open"
    assert list(figure.data[2].x) == [60.0]
    assert list(figure.layout.yaxis.ticktext).count("<b>&lt;i&gt;</b>") == 1
    assert all(trace.error_x.array[0] > 0 for trace in figure.data)


def test_an_evaluation_reads_as_the_plain_request(tmp_path: Path, llama: Subject) -> None:
    from workbench.evaluation import record_evaluation
    from workbench.interventions import Ablate

    run = record_evaluation(
        llama,
        Ablate(random_direction(llama)).at("all"),
        PAIRS,
        settings=Settings(4),
        judge="phrase",
        out=tmp_path / "e",
    )
    found: Attacked = read_attacked(Source("e", run.path))
    assert set(found.grid.values()) == {("asked plainly", c) for c in ("baseline", "treated", "random control")}
    assert found.controls == {"random control"}
    assert found.sets == ["harmful", "harmless"]
