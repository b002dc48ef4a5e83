"""The built-in questions and texts, and what is measured on them."""

import json
import math
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
import torch

from tests.conftest import random_direction
from workbench.evaluation.metrics import Ground, Item, Metric, metrics
from workbench.evaluation.metrics.choices import Choice, Choices, _item, choices
from workbench.evaluation.metrics.language import Language, texts
from workbench.interventions import Ablate, Add, Recipe
from workbench.models import Subject

BUILT_IN: list[Metric] = [Choices(), Language()]


def test_the_questions_are_many_and_the_right_answers_spread_evenly() -> None:
    every = choices()
    assert len(every) >= 48
    assert len({choice.topic for choice in every}) >= 6
    places = Counter(choice.answer for choice in every)
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) - min(places.values()) <= 1
    assert all(len(set(choice.options)) == 4 for choice in every)
    assert all(option == option.strip() != "" for choice in every for option in choice.options)


def test_the_texts_are_many_kinds_of_paragraph() -> None:
    text = files("workbench.evaluation").joinpath("data", "texts.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == len({row["name"] for row in rows}) == len(set(texts())) == 24
    assert len({row["kind"] for row in rows}) >= 7
    assert all(60 <= len(row["text"].split()) <= 110 for row in rows)


def test_an_option_is_as_likely_as_its_characters_are_on_average() -> None:
    choice = Choice("q", ("ab", "abcd", "a", "abc"), 1, "t")
    item = _item(choice, [[-1.0, -3.0], [-4.0], [-1.5], [-9.0]])  # -2, -1, -1.5 and -3 a character
    assert item.values == {"accuracy": 1.0, "margin": 0.5}
    assert _item(choice, [[-1.0], [-4.0], [-1.5], [-9.0]]).values == {"accuracy": 0.0, "margin": -0.5}


def test_likelihoods_that_are_equal_are_no_right_answer() -> None:
    assert _item(Choice("q", ("a", "b", "c", "d"), 2, "t"), [[-1.0]] * 4).values["accuracy"] == 0.0


def test_the_margin_is_that_of_a_slow_computation(llama: Subject) -> None:
    items = Choices().observe(Ground(llama, {}), Recipe())
    for place in (0, 17, 41):
        choice, each = choices()[place], []
        for option in choice.options:
            row = llama.tokenizer.encode(f"Question: {choice.question}\nAnswer: {option}")
            logits = llama.logits(llama.batch([row]))[0].double().numpy()
            chosen = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            n = len(option) + 1  # a byte is a token, and a space comes first
            each.append(sum(chosen[len(row) - n + i - 1, row[len(row) - n + i]] for i in range(n)) / len(option))
        right = each.pop(choice.answer)
        assert items[place].values["margin"] == pytest.approx(right - max(each), abs=1e-4)


def test_cross_entropy_is_that_of_a_slow_computation(llama: Subject) -> None:
    items = Language().observe(Ground(llama, {}), Recipe())
    for place in (0, 9, 23):
        row = llama.tokenizer.encode(texts()[place])[: llama.context_length]
        logits = llama.logits(llama.batch([row]))[0, :-1]
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]))
        assert items[place].values["cross_entropy"] == pytest.approx(float(wanted), abs=1e-4)


def test_an_untrained_model_guesses(llama: Subject) -> None:
    items = Language().observe(Ground(llama, {}), Recipe())
    assert all(item.values["cross_entropy"] > math.log(llama.tokenizer.vocab_size) * 0.8 for item in items)


@pytest.mark.parametrize("metric", BUILT_IN, ids=metrics.name_of)
def test_observing_twice_gives_the_same_items(llama: Subject, metric: Metric) -> None:
    ground = Ground(llama, {})
    assert list(metric.observe(ground, Recipe())) == list(metric.observe(ground, Recipe()))


@pytest.mark.parametrize("metric", BUILT_IN, ids=metrics.name_of)
def test_the_keys_are_unique_and_the_same_under_every_recipe(llama: Subject, metric: Metric) -> None:
    direction = random_direction(llama)
    recipes = [Recipe(), Ablate(direction).at("all"), Add(direction).at(1, "generated")]
    found = [list(metric.observe(Ground(llama, {}), recipe)) for recipe in recipes]
    keys = [item.key for item in found[0]]
    assert len(set(keys)) == len(keys)
    assert all([item.key for item in items] == keys for items in found)
    assert _values(found[0]) != _values(found[1])  # and the edits act
    assert _values(found[0]) != _values(found[2])


@pytest.mark.parametrize("metric", BUILT_IN, ids=metrics.name_of)
def test_items_hold_what_is_declared_and_the_identity_names_the_data(llama: Subject, metric: Metric) -> None:
    items = metric.observe(Ground(llama, {}), Recipe())
    assert all(set(item.values) == {measure.name for measure in metric.measured()} for item in items)
    assert metric.missing(Ground(llama, {})) == ""
    assert len(metric.identity["data"]) == 16


def _values(items: list[Item]) -> list[dict[str, float | None]]:
    return [item.values for item in items]
