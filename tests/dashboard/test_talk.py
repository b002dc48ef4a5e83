"""A message answered in columns: what the worker writes, and that nobody's recipe reaches anybody else."""

import gc
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import torch

from tests.conftest import random_direction
from tests.laws.cases import hooks_left, logits_of, same_bits
from workbench.dashboard.engine import Engine, Job
from workbench.dashboard.engine.talk import MOST_CHARACTERS, Asked, Change, Column, Talk
from workbench.errors import PromptError, UsageError
from workbench.generation import generate
from workbench.interventions import Recipe, parse_recipe
from workbench.models import Subject
from workbench.prompts import Prompts

SOON = 60.0


@pytest.fixture
def engine(long_llama: Subject) -> Iterator[Engine]:
    return Engine("tiny", lambda: long_llama).start()


def reading(subject: Subject):
    """Recipes in their written form, with directions 0, 1, 2 ... of the model."""

    def read(text: str) -> Recipe:
        return (
            parse_recipe(text, lambda name: random_direction(subject, int(name.removeprefix("d"))))
            if text
            else Recipe()
        )

    return read


def asks(subject: Subject, engine: Engine, asked: Asked, owner: str = "a", alive=lambda: True) -> tuple[Talk, Job]:
    talk = Talk(asked)
    watch = {"d0": random_direction(subject)}
    return talk, engine.submit(owner, "message", talk.work(reading(subject), lambda _: watch), alive)


def test_columns_say_what_generate_says_under_the_same_recipes(long_llama: Subject, engine: Engine) -> None:
    recipes = ("", "ablate(d0) @ all", "2 * add(d1) @ 1")
    asked = Asked(
        "Tell me of cakes.", tuple(Column(f"c{i}", text) for i, text in enumerate(recipes)), max_new_tokens=24
    )
    talk, job = asks(long_llama, engine, asked)
    assert job.wait(SOON)
    assert job.state == "done", job.error
    read = reading(long_llama)
    for number, text in enumerate(recipes):
        alone = generate(long_llama, "Tell me of cakes.", read(text), max_new_tokens=24)[0]
        assert talk.text(number) == alone.text
    assert [token.kl for token in talk.tokens[0]] == [0.0] * len(talk.tokens[0])
    assert max(token.kl for token in talk.tokens[1]) > 1e-3
    assert all("d0" in token.watched for token in talk.tokens[2])


def test_every_column_goes_on_from_its_own_past(long_llama: Subject, engine: Engine) -> None:
    columns = (Column("x", "", (("Hello", "One"),)), Column("y", "", (("Hello", "Two"),)))
    talk, job = asks(long_llama, engine, Asked("And then?", columns, max_new_tokens=12))
    assert job.wait(SOON)
    assert [prompt.history[1].content for prompt in talk.asked.prompts()] == ["One", "Two"]
    for number, prompt in enumerate(talk.asked.prompts()):
        assert talk.text(number) == generate(long_llama, Prompts((prompt,)), max_new_tokens=12)[0].text


def test_a_change_holds_from_the_next_token_and_what_was_said_stays(long_llama: Subject, engine: Engine) -> None:
    asked = Asked("Tell me of cakes.", (Column("b"), Column("c", "ablate(d0) @ all")), max_new_tokens=400)
    talk, job = asks(long_llama, engine, asked)
    while len(talk.tokens[1]) < 3 and not job.ended:
        time.sleep(0.001)
    talk.change(1, "3 * add(d1) @ 1")
    assert job.wait(SOON)
    first, later = talk.changes[1]
    assert (first, later.recipe) == (Change(0, "ablate(d0) @ all"), "3 * add(d1) @ 1")
    assert 3 <= later.index < len(talk.tokens[1])
    before = generate(long_llama, "Tell me of cakes.", reading(long_llama)("ablate(d0) @ all"), max_new_tokens=400)[0]
    said = [token.id for token in talk.tokens[1]]
    assert said[: later.index] == list(before.tokens)[: later.index]
    assert said[: len(before.tokens)] != list(before.tokens)
    assert talk.changes[0] == [Change(0, "")]


def test_a_change_that_cannot_be_is_said_and_the_old_recipe_goes_on(long_llama: Subject, engine: Engine) -> None:
    asked = Asked("Tell me of cakes.", (Column("b", "ablate(d0) @ all"),), max_new_tokens=300)
    talk, job = asks(long_llama, engine, asked)
    talk.change(0, "ablate(d0) @ 99")
    assert job.wait(SOON)
    assert job.state == "done", job.error
    assert "no layer 99" in talk.refused
    assert talk.changes[0] == [Change(0, "ablate(d0) @ all")]


def test_stop_comes_within_a_token(long_llama: Subject, engine: Engine) -> None:
    talk, job = asks(long_llama, engine, Asked("Tell me of cakes.", (Column("b"),), max_new_tokens=500))
    while not talk.tokens[0]:
        time.sleep(0.001)
    said = len(talk.tokens[0])
    job.cancel()
    assert job.wait(SOON)
    assert job.state == "cancelled"
    assert len(talk.tokens[0]) <= said + 3  # what was said between the look and the stop, and one more
    assert hooks_left(long_llama) == 0


def test_a_bad_recipe_fails_its_own_message_alone(long_llama: Subject, engine: Engine) -> None:
    _, bad = asks(long_llama, engine, Asked("Hello", (Column("b", "ablate(d0) @ nowhere"),)))
    _, good = asks(long_llama, engine, Asked("Hello", (Column("b"),), max_new_tokens=4), owner="b")
    assert good.wait(SOON)
    assert (bad.state, good.state) == ("failed", "done")
    assert "nowhere" in bad.error


@pytest.mark.parametrize(
    ("text", "says"), [("", "empty"), ("  \n", "empty"), ("x" * (MOST_CHARACTERS + 1), "shorten it")]
)
def test_messages_that_cannot_be_sent_are_said(text: str, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        Asked(text, (Column("b"),))


def test_control_characters_are_a_message_like_any_other(long_llama: Subject, engine: Engine) -> None:
    _, job = asks(long_llama, engine, Asked("a\x00b\x1b[31mc\u202e", (Column("b"),), max_new_tokens=4))
    assert job.wait(SOON)
    assert job.state == "done", job.error


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="1 to 4"):
        Asked("Hello", tuple(Column(str(n)) for n in range(5)))


def talk_at_once(subject: Subject, messages: int, tokens: int) -> tuple[list[str], list[int]]:
    """Eight sessions under eight recipes: what was not as it is alone, and the memory early on and at the end."""
    engine, read = Engine("shared", lambda: subject).start(), reading(subject)
    texts = ["", *(f"ablate(d{n}) @ all" for n in range(4)), *(f"{n} * add(d{n}) @ 1" for n in range(1, 4))]
    alone = {
        (text, n): generate(subject, f"Message {n}", read(text), max_new_tokens=tokens)[0].text
        for text in texts
        for n in range(5)
    }
    wrong: list[str] = []
    memory: list[int] = []

    def talks(session: int, text: str) -> None:
        for number in range(messages):
            asked = Asked(f"Message {number % 5}", (Column("b", text),), max_new_tokens=tokens)
            talk, job = asks(subject, engine, asked, owner=str(session))
            if not job.wait(10 * SOON) or talk.text(0) != alone[text, number % 5]:
                wrong.append(f"{session} {number} {job.state} {job.error}")
            if session == 0 and number in (messages // 5, messages - 1):
                gc.collect()
                memory.append(psutil.Process().memory_info().rss)  # now: a peak would be that of opening the model

    threads = [threading.Thread(target=talks, args=(n, text)) for n, text in enumerate(texts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong, memory


def assert_nobody_meets(subject: Subject, messages: int) -> None:
    """No reply is another's, memory does not grow, no hook is left, and the model is as it was."""
    before = logits_of(subject)
    wrong, memory = talk_at_once(subject, messages, tokens=6)
    assert wrong == []
    assert memory[1] <= 1.1 * memory[0]
    assert hooks_left(subject) == 0
    assert same_bits(logits_of(subject), before)


@pytest.mark.long
def test_eight_sessions_with_other_recipes_get_what_each_would_get_alone(long_llama: Subject) -> None:
    assert_nobody_meets(long_llama, messages=50)


@pytest.mark.real
def test_eight_sessions_share_a_real_model(real_subjects: dict[str, Subject]) -> None:
    assert_nobody_meets(real_subjects["smollm2-135m-instruct"], messages=5)


def test_the_model_is_as_it_was_after_a_message_that_was_stopped(long_llama: Subject, engine: Engine) -> None:
    before = logits_of(long_llama)
    there = threading.Event()
    there.set()
    asked = Asked("Tell me of cakes.", (Column("b", "ablate(d0) @ all"),), max_new_tokens=500)
    talk, job = asks(long_llama, engine, asked, alive=there.is_set)
    while not talk.tokens[0]:
        time.sleep(0.001)
    there.clear()
    assert job.wait(SOON)
    assert job.state == "cancelled"
    assert torch.equal(logits_of(long_llama), before)
