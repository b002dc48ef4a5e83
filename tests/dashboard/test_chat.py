"""The chat lab on a tiny model."""

from tests.dashboard.conftest import Opens


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
