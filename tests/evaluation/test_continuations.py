"""Reading continuations from a cache gives what reading every row whole gives."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from tests.conftest import random_direction
from workbench.directions.readouts.coordinate import Coordinate
from workbench.errors import PromptError
from workbench.evaluation import continuations as module
from workbench.evaluation.continuations import Question, as_question, continuation_logprobs, read_continuations
from workbench.interventions import Ablate, Add, Gate, Placement, Recipe, steered
from workbench.models import Batch, Site, Subject

TEXTS = [
    ("Shared. Q: a?\nA:", [" one", " a longer two", " x"]),
    ("Shared. Q: of the sea, and more?\nA:", [" y"]),
    ("Shared. Q:", [" b", " c", " dd", " e e e e"]),
]
RECIPES: dict[str, Callable[[Subject], Recipe]] = {
    "nothing": lambda subject: Recipe(),
    "ablate": lambda subject: Ablate(random_direction(subject)).at("all"),
    "add": lambda subject: Add(random_direction(subject)).at(1),
}


def _questions(subject: Subject) -> list[Question]:
    return [as_question(subject, text, answers) for text, answers in TEXTS]


def _plainly(subject: Subject, recipe: Recipe, questions: list[Question]) -> list[list[list[float]]]:
    """One row at a time, from its first token to its last, with a softmax over everything."""
    found = []
    for prefix, answers in questions:
        rows = []
        for tokens in answers:
            whole = subject.batch([[*prefix, *tokens]])
            batch = Batch(whole.ids, whole.attention, torch.tensor([len(prefix)]))
            with steered(subject, recipe):
                logprobs = subject.logits(batch)[0].double().log_softmax(dim=-1)
            rows.append([float(logprobs[len(prefix) + place - 1, token]) for place, token in enumerate(tokens)])
        found.append(rows)
    return found


def _assert_close(found: list[list[list[float]]], wanted: list[list[list[float]]]) -> None:
    shape = [[len(row) for row in rows] for rows in wanted]
    assert [[len(row) for row in rows] for rows in found] == shape
    flat, other = ([value for rows in each for row in rows for value in row] for each in (found, wanted))
    assert flat == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [2, 8])
def test_continuations_from_a_cache_are_those_of_whole_rows(tiny: Subject, recipe: str, size: int) -> None:
    made, questions = RECIPES[recipe](tiny), _questions(tiny)
    _assert_close(continuation_logprobs(tiny, made, questions, size), _plainly(tiny, made, questions))


@pytest.mark.parametrize("tokens", ["prompt", "last", "generated", "first 2", "2:20", "-3:2", "all no special"])
def test_every_scope_means_the_same_from_a_cache(llama: Subject, tokens: str) -> None:
    recipe, questions = Add(random_direction(llama)).at(1, tokens), _questions(llama)
    found = continuation_logprobs(llama, recipe, questions)
    _assert_close(found, _plainly(llama, recipe, questions))
    assert found != continuation_logprobs(llama, Recipe(), questions)


@pytest.mark.parametrize("decided", ["token", "prompt", "last"])
def test_a_gate_decides_the_same_from_a_cache(llama: Subject, decided: str) -> None:
    direction, questions = random_direction(llama), _questions(llama)
    seen = []
    for threshold in (-1e3, 0.0, 1e3):
        gate = Gate(Coordinate(direction, threshold), Site(1, "resid_pre"), decided)
        recipe = Recipe((Placement.of(Add(direction), 1, gate=gate),))
        found = continuation_logprobs(llama, recipe, questions)
        _assert_close(found, _plainly(llama, recipe, questions))
        seen.append(found)
    assert seen[0] != seen[2]


def test_the_empty_recipe_is_no_recipe_bit_for_bit(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = _questions(tiny)
    empty = continuation_logprobs(tiny, Recipe(), questions)
    monkeypatch.setattr(module, "steered", lambda subject, recipe: nullcontext())
    assert continuation_logprobs(tiny, Recipe(), questions) == empty


def test_the_beginning_and_each_question_are_read_once(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    real = Subject.read_on

    def counting(self: Subject, ids: torch.Tensor, *rest: object) -> object:
        read.append(tuple(ids.shape))
        return real(self, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Subject, "read_on", counting)
    continuation_logprobs(llama, Recipe(), _questions(llama), 2)
    shared = len("Shared. Q")  # all of the shortest but its last token
    _, middle, long = sorted(len(text) - shared for text, _ in TEXTS)
    # Two questions of like length and their seven answers; then the last question and its one answer, less one token.
    assert read == [(1, shared), (2, middle), (7, 12), (1, long), (1, 1)]


def test_answers_that_are_long_go_in_several_batches(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = _questions(llama)
    whole = continuation_logprobs(llama, Recipe(), questions)
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 25)  # the longest has 12 tokens to be read, so two rows at once
    _assert_close(continuation_logprobs(llama, Recipe(), questions), whole)


def test_rows_longer_than_an_attention_window_are_read_whole(
    tiny_subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subject, "read_on", None)
    gemma = tiny_subjects["gemma3"]
    assert len(continuation_logprobs(gemma, Recipe(), _questions(gemma))) == len(TEXTS)


def test_greedy_continuations_are_known(llama: Subject) -> None:
    prefix = llama.tokenizer.encode("Q: what?\nA:")
    row = list(prefix)
    for _ in range(3):
        row.append(int(llama.logits(llama.batch([row]), last=1)[0, -1].argmax()))
    said = row[len(prefix) :]
    other = [*said[:2], (said[2] + 1) % 256]
    (found,) = read_continuations(llama, Recipe(), [(prefix, [said, said[:1], other])])
    assert [reading.greedy for reading in found] == [True, True, False]


def test_what_cannot_be_read_is_said_before_anything_is_run(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subject, "passing", None)
    for questions, words in [
        ([([5, 6], [[7], []])], "no tokens"),
        ([([], [[7]])], "no tokens"),
        ([([5], [[7]]), ([5] * 250, [[7] * 9])], "reads at most 256"),
    ]:
        with pytest.raises(PromptError, match=words):
            continuation_logprobs(llama, Recipe(), questions)
    assert continuation_logprobs(llama, Recipe(), []) == []
    assert continuation_logprobs(llama, Recipe(), [([5], [])]) == [[]]


def test_a_continuation_may_end_with_the_context(llama: Subject) -> None:
    """The last token need not be read, only be likely."""
    assert len(continuation_logprobs(llama, Recipe(), [([5] * 250, [[7] * 7])])[0][0]) == 7
