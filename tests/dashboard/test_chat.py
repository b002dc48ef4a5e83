"""The chat lab on a tiny model."""

from pathlib import Path

from tests.dashboard.conftest import Opens
from workbench.dashboard.engine import Job
from workbench.dashboard.engine.talk import Asked, Column, Talk
from workbench.dashboard.parts.conversation import Message
from workbench.dashboard.parts.message_again import named


def test_it_opens(opens: Opens) -> None:
    page = opens("chat")
    assert not page.exception, page.exception
    assert page.title[0].value == "Chat lab"


def test_a_message_is_answered_in_two_columns(opens: Opens) -> None:
    page = opens("chat")
    page.chat_input[0].set_value("Tell me of cakes.").run()
    assert not page.exception
    message = page.session_state["conversation"].last
    assert message.job.wait(20.0)
    page.run()
    assert not page.exception, page.exception
    assert message.job.state == "done", message.job.error
    assert [column.name for column in message.talk.asked.columns] == ["baseline", "A"]
    assert message.talk.asked.columns[1].recipe == "ablate(refusal) @ all"
    assert len(message.talk.tokens[1]) > 0


def test_a_replay_is_answered_as_it_was_asked_whatever_the_rack_holds_now(opens: Opens) -> None:
    page = opens("chat")
    page.chat_input[0].set_value("Tell me of cakes.").run()
    assert page.session_state["conversation"].last.job.wait(20.0)
    page.slider(key="strength0").set_value(0.5).run()
    page.button(key="replay0").click().run()
    again = page.session_state["conversation"].last
    assert again.job.wait(20.0)
    page.run()
    assert not page.exception, page.exception
    assert [change.recipe for change in again.talk.changes[1]] == ["ablate(refusal) @ all"]
    assert len(page.session_state["conversation"].branches) == 2


def test_a_message_that_cannot_be_sent_is_a_sentence_and_leaves_nothing(opens: Opens) -> None:
    page = opens("chat")
    page.chat_input[0].set_value("x" * 50_000).run()
    assert not page.exception
    assert "50,000 characters" in page.error[0].value
    assert page.session_state["conversation"].messages == []


def test_the_rack_changes_a_reply_only_where_it_was_turned_since() -> None:
    talk = Talk(Asked("Hello", (Column("baseline"), Column("A", "then"), Column("B", "then"))))
    message = Message(talk, Job("a", "message", None), {"A": "now", "B": "now"})
    message.steer({"A": "now", "B": "now"})
    assert talk._wanted == []
    message.steer({"A": "turned", "B": "now"})
    message.steer({"A": "turned", "B": "now"})
    assert talk._wanted == [(1, "turned")]


def test_a_command_names_the_directions_that_its_recipes_name(shelved: Path) -> None:
    assert named("ablate(refusal) @ all") == ["refusal"]
    assert named('2 * add("refusal") @ 1') == ["refusal"]
    assert named("ablate(refusal2) @ all + add(find-refusal) @ 1") == []
