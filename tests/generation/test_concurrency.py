"""Many threads ask one Subject at once, each with its own recipe, and none ever sees another's edits."""

import gc
import random
import threading
from collections.abc import Callable, Sequence

import psutil
import pytest

from tests.conftest import random_direction
from tests.laws.cases import an_edit, when
from workbench.generation import generate, stream
from workbench.interventions import Recipe
from workbench.models import Subject
from workbench.prompts import Prompts

TEXTS = ("Tell me a story.", "Why?", "What is the tallest mountain?", "Name a river.", "How are you?")


def eight_recipes(subject: Subject) -> list[Recipe]:
    """Recipes of as many kinds, one of them empty, two of them conditional."""
    edits = [an_edit(name, subject, seed=number) for number, name in enumerate(("ablate", "add", "rotate", "cap"))]
    return [
        Recipe(),
        *(edit.at("all") for edit in edits),
        edits[1].at("all", "generated"),
        edits[1].at("all", **when("token gate", subject)),
        edits[0].at("all", **when("prompt gate", subject)),
    ]


def storm(subject: Subject, requests: int, tokens: int) -> int:
    """How many of 8 x `requests` answers differ from those given one at a time."""
    recipes = eight_recipes(subject)
    jobs = [(text, recipe) for recipe in range(8) for text in range(len(TEXTS))]
    alone = {job: generate(subject, TEXTS[job[0]], recipes[job[1]], max_new_tokens=tokens)[0].tokens for job in jobs}
    wrong: list[tuple[int, int]] = []

    def ask(seed: int) -> None:
        drawn = random.Random(seed)
        for number in range(requests):
            text, recipe = job = drawn.choice(jobs)
            if number % 3:
                said = generate(subject, TEXTS[text], recipes[recipe], max_new_tokens=tokens)[0].tokens
            else:
                with stream(subject, TEXTS[text], recipes[recipe], max_new_tokens=tokens, divergence=True) as told:
                    list(told)
                said = told.replies()[0].tokens
            if said != alone[job]:
                wrong.append(job)

    _together([lambda seed=seed: ask(seed) for seed in range(8)])  # type: ignore[misc]
    return len(wrong)


def _together(jobs: Sequence[Callable[[], None]]) -> None:
    """Run every job in a thread of its own; the first exception of any is raised."""
    failed: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@pytest.mark.long
def test_eight_threads_of_fifty_requests_differ_in_no_token_and_keep_no_memory(llama: Subject) -> None:
    storm(llama, 4, 8)  # what is allocated once, is
    gc.collect()
    before = psutil.Process().memory_info().rss
    assert storm(llama, 50, 8) == 0
    gc.collect()
    assert psutil.Process().memory_info().rss <= 1.05 * before
    assert llama.bridge.list_hooks() == {}


def test_a_stream_that_rests_lets_others_talk(llama: Subject) -> None:
    recipe = an_edit("add", llama).at("all")
    plain = generate(llama, "Hello", max_new_tokens=6)[0].tokens
    said: list[tuple[int, ...]] = []
    with stream(llama, "Tell me", recipe, max_new_tokens=6, watch={"it": random_direction(llama)}) as told:
        next(told)
        other = threading.Thread(target=lambda: said.append(generate(llama, "Hello", max_new_tokens=6)[0].tokens))
        other.start()
        other.join(timeout=60)
        assert said == [plain]
        list(told)
    assert told.replies()[0].tokens == generate(llama, Prompts.of(["Tell me"]), recipe, max_new_tokens=6)[0].tokens


@pytest.mark.real
def test_eight_threads_of_five_requests_on_a_real_model(real_subjects: dict[str, Subject]) -> None:
    assert storm(real_subjects["smollm2-135m-instruct"], 5, 6) == 0
