"""Building a direction on a tiny model: written, uploaded and brought; found, carded and refused."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import random_direction
from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import ended, errors, worked
from workbench.dashboard import shelf
from workbench.dashboard.engine import Job
from workbench.dashboard.parts import pairs as parts
from workbench.dashboard.parts.pairs import ENOUGH, EXAMPLE, UPLOADED, Plan
from workbench.dashboard.parts.quality import Known, card_of
from workbench.dashboard.parts.search_again import carded_again, found_again
from workbench.dashboard.parts.searched import read_search
from workbench.dashboard.sources import SHIPPED, Source
from workbench.dashboard.views import build
from workbench.directions import Direction
from workbench.errors import UsageError
from workbench.models import Site, Subject
from workbench.plots import identifiability_figure
from workbench.runs import list_runs
from workbench.search.finding import LEAST
from workbench.statistics import Score

TEXT = "text/plain"


@pytest.fixture
def page(opens: Opens) -> AppTest:
    return opens("build")


def job(page: AppTest, name: str = "build") -> Job:
    """The job of the page, once it has ended."""
    found: Job = page.session_state[f"job-{name}"]
    assert found.wait(60.0)
    return found


def uploaded(page: AppTest, shows: bytes, other: bytes = b"One?\nTwo?\nThree?", name: str = "a.txt") -> AppTest:
    page.segmented_control(key="pairs").set_value(UPLOADED).run()
    page.file_uploader(key="shows-file").set_value((name, shows, TEXT))
    page.file_uploader(key="does-not-file").set_value(("b.txt", other, TEXT))
    page.run()
    assert not page.exception, page.exception
    return page


def test_it_opens_on_an_example_and_the_shelf(page: AppTest) -> None:
    assert not page.exception, page.exception
    assert page.title[0].value == "Build a direction"
    assert page.text_area(key="shows").value == EXAMPLE["shows"]
    assert page.selectbox(key="built").options == ["refusal"]


def test_a_search_puts_its_direction_on_the_shelf_with_a_card(page: AppTest) -> None:
    page.text_input(key="begins").set_value("I, A")
    page.toggle(key="filter").set_value(False)
    page.slider(key="train").set_value(4)
    page.slider(key="val").set_value(4)
    done = worked(page, "build")
    (run,) = list_runs()
    assert run.manifest.command == "find"
    assert run.manifest.settings["refusal_starts"] == ["I", "A"]
    assert page.selectbox(key="built").value == done.result == shelf.name_of(run)
    assert page.metric[0].label.startswith("bypass")
    assert page.get("plotly_chart")


def test_of_a_few_pairs_it_is_extracted_at_one_layer(page: AppTest) -> None:
    page.text_area(key="shows").set_value("Do it!\nDo that!\nDo this!\nDo so!")
    page.text_area(key="does-not").set_value("What?\nWho?\nWhy?\nWhen?").run()
    assert "A search needs 8 prompts" in page.info[0].value
    worked(page, "build")
    (run,) = list_runs()
    assert (run.manifest.command, run.manifest.settings["layer"]) == ("extract", 1)
    assert page.selectbox(key="built").value == shelf.name_of(run)
    assert any("in the right order" in caption.value for caption in page.caption)


def test_uploads_are_read_whatever_they_are_called(page: AppTest) -> None:
    uploaded(page, b'[{"prompt": "Do it!"}, "Do that!", "Do <b>this</b>!"]', name="../../etc/passwd.txt")
    assert list(page.dataframe[0].value["prompt"])[:3] == ["Do it!", "Do that!", "Do <b>this</b>!"]
    worked(page, "build")
    said = (list_runs()[0].path / "manifest.json").read_text()
    assert "passwd" not in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps(["One?"]), "is a pickle"),
        (b"PK\x03\x04" + b"\0" * 100, "is an archive"),
        (b"a" * (2 << 20), "at most 1 MB"),
        ("caf\u00e9?".encode("latin-1"), "not UTF-8"),
        ("One?".encode("utf-16"), "not UTF-8"),
        (b"", "is empty"),
    ],
)
def test_a_bad_upload_is_one_sentence_and_nothing_starts(page: AppTest, content: bytes, says: str) -> None:
    uploaded(page, content)
    assert says in errors(page)
    assert page.button(key="start-build").disabled


def test_one_side_that_is_empty_is_one_sentence(page: AppTest) -> None:
    page.text_area(key="shows").set_value("  ").run()
    assert "has no prompts" in errors(page)
    assert page.button(key="start-build").disabled


def test_too_few_prompts_fail_the_job_with_the_librarys_own_sentence(page: AppTest) -> None:
    page.text_area(key="shows").set_value("Do it!").run()
    assert ended(page, "build").state == "failed"
    assert "needs at least 3 prompts" in errors(page)


def test_a_direction_file_is_brought_to_the_shelf(page: AppTest, long_llama: Subject, tmp_path: Path) -> None:
    content = random_direction(long_llama, seed=5).save(tmp_path / "other.safetensors").read_bytes()
    page.file_uploader(key="direction-file").set_value(("..\\evil.safetensors", content, "")).run()
    done = worked(page, "bring")
    assert page.selectbox(key="built").value == done.result
    assert shelf.load(str(done.result)).digest == random_direction(long_llama, seed=5).digest
    assert any("uploaded" in caption.value for caption in page.caption)


def test_another_list_of_prompts_makes_another_direction_of_the_shelf(long_llama: Subject, opens: Opens) -> None:
    one = random_direction(long_llama, seed=5)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "d.safetensors"
        kept = [build.kept_direction(long_llama, replace(one, seen=seen).save(path).read_bytes())
                for seen in (frozenset(), frozenset({"a" * 64}))]  # fmt: skip
        assert kept[0].path != kept[1].path
        deep = replace(one, site=Site(99, "resid_pre")).save(path).read_bytes()
        with pytest.raises(UsageError, match=r"No site 99\.resid_pre"):
            build.kept_direction(long_llama, deep)


def test_a_file_that_is_no_direction_or_of_another_model_is_one_sentence(
    page: AppTest, tiny_subjects: dict[str, Subject], tmp_path: Path
) -> None:
    of_another = random_direction(tiny_subjects["gpt2"]).save(tmp_path / "g.safetensors").read_bytes()
    for content, says in ((pickle.dumps({}), "is a pickle"), (b"\1" * 64, "is not a direction file"),
                          (of_another, "find one in")):  # fmt: skip
        page.file_uploader(key="direction-file").set_value(("a.safetensors", content, "")).run()
        assert ended(page, "bring").state == "failed"
        assert says in errors(page)
        assert str(tmp_path) not in errors(page)
    assert shelf.places(None).keys() == {"refusal"}


def test_a_card_is_measured_and_shown(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.studies.identifiability import resampling

    monkeypatch.setattr(resampling, "RESAMPLES", 3)
    monkeypatch.setattr(resampling, "REPEATS", 2)
    page.text_area(key="shows").set_value("\n".join(f"Do the bad thing number {n}!" for n in range(24)))
    page.text_area(key="does-not").set_value("\n".join(f"What is the number {n}?" for n in range(24)))
    page.text_input(key="begins").set_value("I, A").run()
    worked(page, "card-refusal")
    assert any("Two resamples" in caption.value for caption in page.caption)
    assert list_runs()[0].manifest.command == "card"


def test_what_a_file_says_is_never_read_as_markdown(page: AppTest) -> None:
    uploaded(page, b'{"![seen](http://elsewhere/x.png)": "One?"}')
    assert "no 'prompt' column" in errors(page)
    assert "!\\[seen](" in errors(page)


def test_a_damaged_run_is_one_sentence(page: AppTest) -> None:
    page.text_area(key="shows").set_value("Do it!\nDo that!\nDo this!")
    page.text_area(key="does-not").set_value("What?\nWho?\nWhy?").run()
    worked(page, "build")
    results = list_runs()[0].path / "results.json"
    for damaged in ("{", '{"n": [3, 3]}', "[]", '{"separation": 7, "layer": 1, "n": 2}'):
        results.write_text(damaged)
        page.run()
        assert not page.exception, page.exception
        assert len(page.error) == 1


def test_the_direction_goes_to_the_chat(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(build, "to_chat", taken.append)
    page.button(key="take").click().run()
    assert taken == ["refusal"]


def test_the_plan_is_of_the_models_own_depth() -> None:
    settings: Callable[[int], Any] = Plan(depth=(50, 100)).settings
    assert settings(24).layers == tuple(range(12, 24))
    assert settings(3).layers == (1, 2)
    assert Plan(depth=(50, 50)).settings(3).layers == (1,)
    assert Plan(layer=95).layer_of(3) == 2
    assert ENOUGH == 2 * LEAST
    assert {len(text.splitlines()) for text in parts.EXAMPLE.values()} == {12}


def test_the_command_and_the_python_ask_for_the_same_search() -> None:
    search = read_search(Source(SHIPPED))
    command, python = found_again(search, ships=True)
    assert "--harmful harmful:train --harmless harmless:train" in command
    other = {"layers": [4, 5, 6], "refusal_starts": ["Oh no"], "filtered": False}
    asked = replace(search, settings={**search.settings, **other})
    command, python = found_again(asked, ships=False)
    assert command.endswith("--layers 4-6 \\\n  --refusal-token 'Oh no' \\\n  --no-filter")
    assert "wb.load_prompts('shows.txt')" in python
    compile(python, "python", "exec")


def test_the_shipped_card_is_of_the_shipped_direction() -> None:
    known = Known.of("refusal")
    card = card_of(known)
    assert card is not None
    assert (known.source, card["n"]) == (Source(SHIPPED), [64, 64])
    assert Direction.load(shelf.SHIPPED["refusal"]).digest == known.digest
    assert card_of(replace(known, digest="another")) is None
    compile(carded_again("model", None)[1], "python", "exec")


def test_the_cards_panels_are_stacked_with_the_same_data() -> None:
    scores = [Score(name=name, value=0.5, low=0.1, high=0.9, n=8) for name in ("no edit", "one", "random")]
    beside, stacked = (
        identifiability_figure([(8, scores[0], scores[2])], [(8, 0.4)], ["one"], [[1.0]], scores, stacked=stacked)
        for stacked in (False, True)
    )
    assert [trace.y for trace in stacked.data] == [trace.y for trace in beside.data]
    assert (beside.layout.width, stacked.layout.width) == (1250, None)
    assert stacked.layout.yaxis.domain[0] > stacked.layout.yaxis2.domain[1]
