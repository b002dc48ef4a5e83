"""A monitor reads what a capture reads, and acts on the reply that raised the alarm alone."""

from math import inf, nan

import pytest

from probes.monitoring import Monitor, Stop, Switch, Warn, monitored
from tests.conftest import random_direction
from tests.laws.cases import PROMPTS
from workbench.activations import capture
from workbench.errors import DirectionError, UsageError
from workbench.generation import generate, stream
from workbench.interventions import Add, Recipe
from workbench.models import Subject

N = 8


def first_read(subject: Subject) -> list[float]:
    """What the direction reads at the last token of each prompt."""
    direction = random_direction(subject)
    acts = capture(subject, PROMPTS, sites=[direction.site], positions=[-1])
    return [float(value) for value in direction.coordinate(acts.at(direction.site, -1))]


def between(values: list[float]) -> tuple[float, int]:
    """A threshold that only the largest exceeds, and which that is."""
    ordered = sorted(values)
    return (ordered[-1] + ordered[-2]) / 2, values.index(ordered[-1])


def test_the_first_read_is_of_the_prompt_before_a_word_is_said(tiny: Subject) -> None:
    found = monitored(tiny, PROMPTS, Monitor(random_direction(tiny), 1e6), max_new_tokens=N, batch_size=2)
    assert [each.coordinates[0] for each in found] == pytest.approx(first_read(tiny), abs=1e-3)
    assert [each.alarm for each in found] == [None] * len(PROMPTS)
    assert found.alarms().value == 0.0


def test_warning_changes_no_word(tiny: Subject) -> None:
    plain = generate(tiny, PROMPTS, max_new_tokens=N)
    found = monitored(tiny, PROMPTS, Monitor(random_direction(tiny), -1e6, Warn()), max_new_tokens=N)
    assert [each.reply.tokens for each in found] == [reply.tokens for reply in plain]
    assert [each.alarm for each in found] == [0] * len(PROMPTS)


def test_stopping_ends_that_reply_before_its_first_word_and_no_other(tiny: Subject) -> None:
    threshold, loud = between(first_read(tiny))
    found = monitored(tiny, PROMPTS, Monitor(random_direction(tiny), threshold, Stop()), max_new_tokens=N)
    plain = generate(tiny, PROMPTS, max_new_tokens=N)
    assert found[loud].alarm == 0
    for row, (each, reply) in enumerate(zip(found, plain, strict=True)):
        said = 0 if row == loud else len(reply.tokens) if each.alarm is None else each.alarm
        assert each.reply.tokens == reply.tokens[:said]
    assert found.alarms(within=1).value == pytest.approx(1 / len(PROMPTS))


def test_switching_steers_that_reply_from_the_next_token_on(llama: Subject) -> None:
    threshold, loud = between(first_read(llama))
    recipe = Add(random_direction(llama, 3), 6.0).at("all")
    found = monitored(llama, PROMPTS, Monitor(random_direction(llama), threshold, Switch(recipe)), max_new_tokens=N)
    plain = generate(llama, PROMPTS, max_new_tokens=N)
    with stream(llama, PROMPTS[loud : loud + 1], max_new_tokens=N) as tokens:
        for token in tokens:
            if token.index == 0:
                tokens.change(recipe)
    assert found[loud].reply.tokens == tokens.replies()[0].tokens
    assert found[loud].reply.tokens != plain[loud].tokens
    quiet = [row for row, each in enumerate(found) if each.alarm is None]
    assert all(found[row].reply.tokens == plain[row].tokens for row in quiet)


def test_it_reads_what_an_attack_leaves(llama: Subject) -> None:
    direction = random_direction(llama)
    attack = Add(direction, 3.0).at(direction.site)
    plain, attacked = (
        monitored(llama, PROMPTS, Monitor(direction, 1e6), recipe, max_new_tokens=1) for recipe in (Recipe(), attack)
    )
    for before, after in zip(plain, attacked, strict=True):
        assert after.coordinates[0] - before.coordinates[0] == pytest.approx(3.0, abs=1e-2)


def test_it_has_a_figure(llama: Subject) -> None:
    found = monitored(llama, PROMPTS, Monitor(random_direction(llama), 0.0), max_new_tokens=3)
    assert [len(trace.x) for trace in found.plot().data] == [len(each.coordinates) for each in found]


@pytest.mark.parametrize("threshold", [nan, inf])
def test_a_threshold_is_finite(llama: Subject, threshold: float) -> None:
    with pytest.raises(UsageError, match="finite coordinate"):
        Monitor(random_direction(llama), threshold)


def test_a_direction_of_another_model_is_refused(llama: Subject, tiny_subjects: dict[str, Subject]) -> None:
    with pytest.raises(DirectionError):
        monitored(llama, PROMPTS, Monitor(random_direction(tiny_subjects["gpt2"]), 0.0))
