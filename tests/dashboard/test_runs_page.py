"""The page of runs: what is listed, compared, hidden, verified and repeated."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import Opens, view
from workbench.cli.main import app
from workbench.dashboard.parts.recorded import Recorded, apart
from workbench.dashboard.parts.run_again import FLAGS, OPTIONS, RENAMED, command_of
from workbench.evaluation import Evaluation, Measured
from workbench.evaluation.outcomes import Outcome
from workbench.evaluation.replies import Judged
from workbench.runs import RunFolder, RunManifest
from workbench.statistics import mean_score

SECRET = "Here is how the thing that nobody shall do is done."
REFUSED, BAKED = "I'm sorry, but I can't help with that.", "I will bake a **cake** for you <script>alert(1)</script>."
CONDITIONS = ("baseline", "treated", "random control")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two evaluations of which the second refuses less as it is, a search, and three folders that are no runs."""
    root = tmp_path / "runs"
    evaluated(root / "first", refused=6, started="2026-01-01T00:00:00+00:00")
    evaluated(root / "second", refused=2, started="2026-01-02T00:00:00+00:00")
    searched = RunFolder.start(manifest("find", {"positions": [-2, -1], "seed": 3}), root / "search")
    searched.finish({}, [mean_score("validation/kl_div_score", [0.1, 0.2, 0.3], "lower")])
    RunFolder.start(manifest("dose", {"seed": 1}), root / "stopped")
    for name, content in (("newer", '{"schema_version": 99}'), ("cut-short", '{"schema_ver')):
        (root / name).mkdir()
        (root / name / "manifest.json").write_text(content)
    (root / "begun").mkdir()
    (root / "begun" / ".lock").touch()
    return root


def test_every_run_is_listed_and_what_is_none_says_why(runs: Path, opens: Opens) -> None:
    page = opens("runs")
    assert not page.exception, page.exception
    table = frame(page, "run")
    assert set(table["run"]) == {"first", "second", "search", "stopped"}
    assert dict(zip(table["run"], table["state"], strict=True))["stopped"] == "stopped"
    assert dict(zip(table["run"], table["n"], strict=True))["first"] == 8
    others = dict(text.value.split(": ", 1) for text in page.text)
    assert "newer workbench" in others["newer"]
    assert "not readable JSON" in others["cut-short"]
    assert "no manifest.json" in others["begun"]


def test_without_runs_it_says_how_to_make_one(opens: Opens) -> None:
    page = opens("runs")
    assert not page.exception
    assert "workbench demo" in page.info[0].value


def test_a_filter_leaves_the_runs_of_its_commands(runs: Path, opens: Opens) -> None:
    page = opens("runs")
    page.button_group(key="run_commands").set_value(["find"]).run()
    assert not page.exception, page.exception
    assert list(frame(page, "run")["run"]) == ["search"]


def test_a_name_in_the_url_is_looked_up_among_the_runs(runs: Path, opens: Opens) -> None:
    page = linked(run="first")
    assert page.selectbox(key="run").value == "first"


@pytest.mark.parametrize("name", ["../secret", "/etc", "begun", "newer", "no such run"])
def test_what_is_no_run_is_not_opened_by_name(name: str, runs: Path, opens: Opens) -> None:
    secret = evaluated(runs.parent / "secret", refused=8)
    assert secret.done
    page = linked(run=name)
    assert not page.exception, page.exception
    assert page.selectbox(key="run").value in ("first", "second", "search", "stopped")


def test_runs_are_compared_by_score_change_and_difference(runs: Path, opens: Opens) -> None:
    page = opens("runs")
    page.multiselect(key="run_compared").set_value(["first", "second"]).run()
    drawn = figure(page, 0)
    assert drawn["layout"]["yaxis"]["ticktext"] == list(CONDITIONS)
    named = {trace["name"]: trace for trace in drawn["data"]}
    assert named["first"]["x"] == [75.0, 0.0, 75.0]
    assert named["second"]["x"] == [25.0, 0.0, 25.0]
    assert all(width > 0 for width in named["first"]["error_x"]["array"])

    page.button_group(key="run_way").set_value("change from baseline").run()
    named = {trace["name"]: trace for trace in figure(page, 0)["data"]}
    assert named["first"]["x"] == [-75.0, 0.0]
    assert figure(page, 0)["layout"]["yaxis"]["ticktext"] == ["treated", "random control"]

    page.button_group(key="run_way").set_value("difference of runs").run()
    assert not page.exception, page.exception
    (trace,) = (each for each in figure(page, 0)["data"] if "name" in each)
    assert (trace["name"], trace["x"]) == ("second", [-50.0, 0.0, -50.0])


def test_a_difference_is_paired_where_the_same_items_were_asked(runs: Path) -> None:
    evaluated(runs / "others", refused=2, asked="other")
    first, second, others = (recorded(runs / name) for name in ("first", "second", "others"))
    paired, unpaired = (apart(first, run, "harmful/refusal")["baseline"] for run in (second, others))
    assert paired.paired is not None
    assert (paired.paired.gained, paired.paired.lost, paired.paired.n) == (0, 4, 8)
    assert paired.paired.adjusted is not None
    assert paired.paired.adjusted >= paired.paired.p_value
    assert paired.how.startswith("the same 8 items")
    assert unpaired.paired is None
    assert unpaired.score.value == paired.score.value == -0.5
    assert unpaired.score.low is not None


def test_the_trade_off_tells_baseline_control_and_treatment_apart(runs: Path, opens: Opens) -> None:
    drawn = figure(opens("runs"), 1)
    by_name = {trace["name"]: trace for trace in drawn["data"]}
    assert set(by_name) == {"first", "second"}
    assert by_name["first"]["marker"]["symbol"] == ["diamond", "circle", "circle-open"]
    assert by_name["first"]["y"] == [75.0, 0.0, 75.0]
    assert "harmless/refusal (%)" in drawn["layout"]["xaxis"]["title"]["text"]


def test_answers_to_harmful_prompts_are_hidden_until_they_are_asked_for(runs: Path, opens: Opens) -> None:
    page = replies_of(opens("runs"), "first")
    assert not page.exception, page.exception
    assert SECRET not in said(page)
    assert REFUSED in said(page)
    assert "12 replies" in page.toggle(key="run-answers").label
    page.toggle(key="run-answers").set_value(True).run()
    assert SECRET in said(page)


def test_a_link_does_not_unlock_them(runs: Path, opens: Opens) -> None:
    page = linked(**{"run": "first", "run_part": "replies", "run-answers": "true"})
    assert REFUSED in said(page)
    assert SECRET not in said(page)


def test_what_the_model_said_is_text(runs: Path, opens: Opens) -> None:
    page = replies_of(opens("runs"), "first")
    page.button_group(key="run_set").set_value("harmless").run()
    assert BAKED in [text.value for text in page.text]
    assert not any("script" in each.value for each in [*page.markdown, *page.caption, *page.info])


def test_another_run_is_shown_from_its_own_first_page(runs: Path, opens: Opens) -> None:
    page = replies_of(opens("runs"), "first")
    page.number_input(key="run_page").set_value(2).run()
    evaluated(runs / "short", refused=1, n=2)
    page.run()
    page.selectbox(key="run").set_value("short").run()
    assert not page.exception, page.exception
    assert page.number_input(key="run_page").value == 1


def test_damaged_replies_and_results_are_a_sentence(runs: Path, opens: Opens) -> None:
    (runs / "first" / "results.json").write_text('["no mapping"]')
    (runs / "second" / "replies.jsonl").write_text('{"condition": 3}\n')
    page = opens("runs")
    page.selectbox(key="run").set_value("first").run()
    assert not page.exception, page.exception
    assert any("damaged" in error.value for error in page.error)
    page = replies_of(page, "second")
    assert not page.exception, page.exception
    assert any("replies.jsonl is damaged" in error.value for error in page.error)


def test_a_run_is_verified_and_a_changed_one_is_not(runs: Path, opens: Opens) -> None:
    page = opens("runs")
    assert verify(page, "first") == []
    assert "Verified" in page.success[0].value
    (runs / "second" / "replies.jsonl").write_text("")
    assert verify(page, "second") == ["replies.jsonl is missing or was changed."]
    assert "does not verify" in page.error[0].value
    assert "replies.jsonl is missing or was changed." in [text.value for text in page.text]


def test_the_command_has_the_settings_and_a_folder_of_its_own(runs: Path, opens: Opens) -> None:
    page = opens("runs")
    page.selectbox(key="run").set_value("search")
    page.button_group(key="run_part").set_value("verify and repeat").run()
    (code,) = (each.value for each in page.code if "workbench find" in each.value)
    words = shlex.split(code.replace("\\\n", " "))
    assert words[:3] == ["workbench", "find", "tiny"]
    assert "--positions=-2,-1" in words
    assert "--seed=3" in words
    assert words[words.index("--out") + 1] == str(runs / "search-again")


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_that_is_written_is_one_of_the_command(command: str, tmp_path: Path) -> None:
    settings: dict[str, object] = dict.fromkeys(OPTIONS[command], 1)
    settings |= dict.fromkeys(FLAGS, False) | {"judge": {"name": "local"}}
    settings |= {"grid": {"recipe": "ablate(r) @ all", "layers": [1, 2], "strengths": [0.5]}}
    made = manifest(command, settings)
    made.model = {"name": "tiny", "digest": "d"} | ({} if command in ("sweep", "judge") else {"dtype": "float32"})
    made.scores = [mean_score("baseline/harmful/refusal", [0.0, 1.0])]
    words = shlex.split(command_of(made, tmp_path / "run").replace("\\\n", " "))
    known: Any = typer.main.get_command(app)
    for name in command.split():
        known = known.commands[name]
    options = {flag for each in known.params for flag in each.opts}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= options
    assert len(OPTIONS[command]) <= len(used)


def test_a_run_that_no_command_makes_has_none(tmp_path: Path) -> None:
    assert command_of(manifest("attacks", {}), tmp_path) == ""
    assert set(RENAMED) <= {name for names in OPTIONS.values() for name in names}


def manifest(command: str, settings: dict[str, object], **other: object) -> RunManifest:
    asked = {"command": command, "settings": settings, "model": {"name": "tiny", "digest": "d"}, "data": {}}
    return RunManifest.model_validate(asked | other)


def evaluated(
    path: Path, refused: int, n: int = 8, asked: str = "prompt", started: str = "2026-01-03T00:00:00+00:00"
) -> RunFolder:  # fmt: skip
    """A finished evaluation: as it is the model refuses `refused` of n, treated none, under the control as before."""
    settings = {"seed": 0, "max_new_tokens": 8, "suite": "quick", "judge": {"name": "by hand"}}
    folder = RunFolder.start(manifest("judge", settings, data={"asked": asked + str(refused)}, started=started), path)
    parts = [
        measured(condition, kind, 0 if condition == "treated" or kind == "harmless" else refused, n, asked)
        for kind in ("harmful", "harmless")
        for condition in CONDITIONS
    ]
    for part in parts:
        folder.log("replies.jsonl", part.model_dump(mode="json"))
    evaluation = Evaluation(tuple(parts), judge="by hand")
    folder.finish(evaluation.to_json(), evaluation.scores())
    return folder


def measured(condition: str, kind: str, refused: int, n: int, asked: str) -> Measured:
    replies = [
        Judged(
            prompt=f"{kind} {asked} {i}", digest=f"{kind}-{asked}-{i}", category=None,
            reply=REFUSED if i < refused else SECRET if kind == "harmful" else BAKED,
            outcome=Outcome.REFUSE if i < refused else Outcome.COMPLY,
        )
        for i in range(n)
    ]  # fmt: skip
    return Measured(condition=condition, asked=kind, replies=tuple(replies))


def recorded(path: Path) -> Recorded:
    return Recorded(path, RunFolder.open(path).manifest)


def frame(page: AppTest, column: str) -> Any:
    return next(each.value for each in page.dataframe if column == each.value.columns[0])


def figure(page: AppTest, number: int) -> Any:
    return json.loads(page.get("plotly_chart")[number].proto.spec)


def replies_of(page: AppTest, run: str) -> AppTest:
    page.selectbox(key="run").set_value(run)
    return page.button_group(key="run_part").set_value("replies").run()


def linked(**query: str) -> AppTest:
    """The page as a link opens it."""
    page = AppTest.from_function(view, args=("runs",), default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def said(page: AppTest) -> str:
    return "\n".join(str(each.value) for each in [*page.text, *page.markdown, *page.caption, *page.info, *page.code])


def verify(page: AppTest, run: str) -> list[str]:
    page.selectbox(key="run").set_value(run)
    page.button_group(key="run_part").set_value("verify and repeat").run()
    page.button(key=f"start-verify-{run}").click().run()
    job = page.session_state[f"job-verify-{run}"]
    assert job.wait(30.0)
    assert job.state == "done", job.error
    page.run()
    found: list[str] = job.result
    return found
