"""The page of the microscope: what ships, and a text that the tiny model looks at."""

import json
from pathlib import Path
from typing import Any

import pytest

from probes.microscope.seen import EDITED, PLAIN, Seen
from tests.conftest import random_direction
from tests.dashboard.conftest import Opens
from tests.dashboard.pressing import worked
from workbench.dashboard import sources
from workbench.dashboard.engine import Job
from workbench.dashboard.parts.looked import MOST_CHARACTERS, Wish, work
from workbench.errors import DirectionError, PromptError, RunError, UsageError
from workbench.models import Subject
from workbench.prompts import builtin_prompts

WISH = Wish("Tell me all of it.", "", None, "refusal", None, "ablate(refusal) @ all", ("I",), 8)


def wish(**changes: Any) -> Wish:
    from dataclasses import replace

    return replace(WISH, **changes)


@pytest.fixture
def shipped() -> Seen:
    return Seen.model_validate(sources.shipped("microscope")["seen"])


def test_it_opens_on_what_ships_without_the_model(opens: Opens, shipped: Seen) -> None:
    page = opens("microscope")
    assert not page.exception, page.exception
    assert page.title[0].value == "Token microscope"
    assert len(page.get("plotly_chart")) == 3
    assert shipped.text in [text.value for text in page.text]


def test_what_ships_is_a_built_in_prompt_and_no_reply(shipped: Seen) -> None:
    assert shipped.text in {prompt.text for prompt in builtin_prompts("harmful", "val")}
    assert shipped.prefill == ""
    assert {"command", "model", "n", "started", "versions"} <= set(sources.shipped("microscope")["source"])


def test_what_ships_refuses_as_it_is_and_not_under_the_recipe(shipped: Seen) -> None:
    last = {name: view.probability[-1][-1] for name, view in shipped.views.items()}
    assert last[PLAIN] > 0.4 > 0.1 > last[EDITED]


def test_a_token_is_chosen_and_its_next_tokens_are_shown(opens: Opens, shipped: Seen) -> None:
    page = opens("microscope")
    page.select_slider(key="seen-token").set_value(3).run()
    page.segmented_control(key="seen-view").set_value("change").run()
    page.segmented_control(key="seen-by").set_value("the probability of refusal tokens").run()
    assert not page.exception, page.exception
    assert shipped.kl is not None
    assert any(f"{shipped.kl[3]:.3g} nats" in caption.value for caption in page.caption)


def test_a_text_is_looked_at_by_a_job(opens: Opens) -> None:
    page = opens("microscope")
    page.text_area(key="seen-text").set_value("Tell <b>me</b> all of it.").run()
    page.text_input(key="seen-follow").set_value("I").run()
    page.number_input(key="seen-last").set_value(5).run()
    job = worked(page, "microscope")
    assert (len(job.result.tokens), job.result.recipe) == (5, "ablate(refusal) @ all")
    json.dumps(job.result.model_dump())  # plain values, no tensors
    assert "Tell <b>me</b> all of it." in [text.value for text in page.text]


def test_a_reply_of_the_chat_is_looked_at_with_its_prompt(opens: Opens) -> None:
    from workbench.dashboard.engine.talk import Asked, Column, Talk
    from workbench.dashboard.parts.conversation import Conversation, Message

    talked = Conversation()
    talk = Talk(Asked("What of cakes?", (Column("baseline"), Column("A", "ablate(refusal) @ all")), prefill="Cakes"))
    talked.add(Message(talk, Job("", "", None)))
    page = opens("microscope")
    page.session_state["conversation"] = talked
    page.run()
    page.selectbox(key="seen-which").set_value("message 1, A").run()
    page.text_input(key="seen-follow").set_value("I").run()
    job = worked(page, "microscope")
    assert (job.result.text, job.result.prefill) == ("What of cakes?", "Cakes")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"text": "  "}, PromptError, "empty"),
        ({"text": "a" * (MOST_CHARACTERS + 1)}, PromptError, "longer than 4,000"),
        ({"recipe": "ablate(nobody) @ all"}, DirectionError, "no direction called 'nobody'"),
        ({"recipe": "magic"}, UsageError, "magic"),
        ({"direction": "../../etc/passwd"}, DirectionError, "no direction called"),
        ({"upload": b"\x80\x04K\x01."}, UsageError, "pickle"),
        ({"upload": b"nothing of the kind"}, DirectionError, "not a direction file"),
        ({"followed": ("no single token",)}, UsageError, "follows single tokens"),
        ({"followed": ()}, UsageError, "name tokens to follow"),
    ],
)
def test_bad_input_is_one_sentence(
    changes: dict[str, Any], error: type[Exception], said: str, long_llama: Subject, shelved: Path
) -> None:
    with pytest.raises(error, match=said):
        work(wish(**changes))(long_llama, Job("", "", None))


def test_control_characters_are_text(long_llama: Subject, shelved: Path) -> None:
    seen = work(wish(text="a\x00b\x1b[31m\u202e"))(long_llama, Job("", "", None))
    assert all("\x00" not in label and "\u202e" not in label for label in seen.plot().layout.xaxis.ticktext)


def test_an_uploaded_direction_is_looked_along(long_llama: Subject, shelved: Path, tmp_path: Path) -> None:
    mine = random_direction(long_llama, seed=5, layer=2)
    content = mine.save(tmp_path / "mine.safetensors").read_bytes()
    seen = work(wish(upload=content))(long_llama, Job("", "", None))
    assert (seen.site, seen.direction) == ("2.resid_pre", repr(mine))


def test_what_is_missing_or_damaged_is_a_sentence(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(kind: str) -> dict[str, Any]:
        raise RunError("No result of microscope ships with this workbench; install it again.")

    for broken, said in ((missing, "install it again"), (lambda kind: {"seen": {"tokens": 3}}, "damaged")):
        monkeypatch.setattr("workbench.dashboard.views.microscope.shipped", broken)
        page = opens("microscope")
        assert not page.exception
        assert said in page.info[0].value


def test_a_token_that_the_next_text_does_not_have_is_let_go(opens: Opens) -> None:
    page = opens("microscope")
    page.select_slider(key="seen-token").set_value(12).run()
    page.text_area(key="seen-text").set_value("Tell me.").run()
    page.text_input(key="seen-follow").set_value("I").run()
    page.number_input(key="seen-last").set_value(4).run()
    worked(page, "microscope")
    assert page.select_slider(key="seen-token").value == 3
