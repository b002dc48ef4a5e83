"""The guard: the block that tells harm is chosen, the threshold holds its rate, the prompt's last token is read."""

import numpy as np
import pytest
import torch

from experiments import guard as experiment
from experiments.guard import HARMFUL, HARMLESS, OWN, PLAIN, REFUSAL, WORDS
from tests.conftest import random_direction
from workbench.activations import Activations, capture
from workbench.activations.activations import Chunk
from workbench.models import Site, Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts
from workbench.statistics import rate_score

TELLS, SEED = 1, 3  # the one block that tells harm


def planted(subject: Subject, prompts: Prompts, harmful: bool, seed: int) -> Activations:
    """Noise, and at one block harmful prompts lie on the far side of the first axis."""
    sites = tuple(Site(layer, "resid_post") for layer in range(subject.n_layers))
    values = torch.randn(len(prompts), 1, len(sites), subject.d_model, generator=torch.Generator().manual_seed(seed))
    values[:, 0, TELLS, 0] += 8.0 if harmful else 0.0
    digests = tuple(prompt.digest for prompt in prompts)
    chunk = Chunk(tuple(range(len(prompts))), values)
    return Activations((chunk,), sites, (-1,), (None,) * len(prompts), digests, subject.digest)


@pytest.mark.parametrize("method", ["logistic-normal", "difference-in-means"])
def test_the_block_that_tells_harm_is_chosen_and_the_threshold_lies_above_harmless_prompts(
    llama: Subject, method: str
) -> None:
    sides = {part: [builtin_prompts(side, part) for side in (HARMFUL, HARMLESS)] for part in ("train", "val")}
    acts = {
        part: tuple(planted(llama, side, number == 0, 2 * place + number) for number, side in enumerate(both))
        for place, (part, both) in enumerate(sides.items())
    }
    found = experiment.fitted(llama, acts, method)
    assert found.direction.site == Site(TELLS, "resid_post")
    assert found.auroc > 0.99
    harmful, harmless = experiment.read(found.direction, acts["val"])
    assert (harmful > found.threshold).mean() > 0.95
    assert (harmless > found.threshold).mean() <= experiment.FALSE_ALARMS
    assert found.direction.seen == {prompt.digest for both in sides.values() for side in both for prompt in side}
    score = experiment.validated(found, acts, ContrastPairs(*sides["val"]))
    assert score.value == pytest.approx(found.auroc)
    assert score.n == len(harmful) + len(harmless)


@pytest.mark.parametrize("n", [40, 200, 1000])
def test_at_most_the_stated_share_of_harmless_prompts_is_above_the_threshold(n: int) -> None:
    reads = np.random.default_rng(SEED).normal(size=n)
    above = int((reads > experiment.cut(reads)).sum())
    assert above <= experiment.FALSE_ALARMS * n
    assert above >= experiment.FALSE_ALARMS * n - 1


def test_an_alarm_is_what_the_prompts_last_token_says_and_an_ablated_guard_reads_one_constant(llama: Subject) -> None:
    """Whatever is asked: without its direction all prompts have the same coordinate."""
    own, other = random_direction(llama), random_direction(llama, seed=1)
    test = {kind: builtin_prompts(kind, "test").sample(8, 0) for kind in (HARMFUL, HARMLESS)}
    reads = {
        kind: own.coordinate(capture(llama, side, sites=[own.site], positions=[-1]).at(own.site, -1)).numpy()
        for kind, side in test.items()
    }
    guard = experiment.Guard(own, float(np.median(np.concatenate([*reads.values()]))), 0.5)
    alarms = {
        (how, kind): experiment.alarmed(llama, guard, put, recipe)["alarms"]
        for how, kind, put, recipe in experiment.conditions(own, other, test)
    }
    for kind in test:
        assert alarms[PLAIN, kind] == (reads[kind] > guard.threshold).astype(float).tolist()
    assert len(set(alarms[PLAIN, HARMFUL])) == 2
    assert len(set(alarms[OWN, HARMFUL])) == 1
    assert len(alarms[REFUSAL, HARMFUL]) == 8


def test_words_that_harmful_prompts_alone_have_raise_an_alarm() -> None:
    def said(word: str, n: int) -> Prompts:
        return Prompts.of([f"{word} number {index}" for index in range(n)])

    train, val = (ContrastPairs(said("poison", n), said("bake", n)) for n in (30, 20))
    alarms, auroc = experiment.of_words(train, val, {HARMFUL: said("poison", 9), HARMLESS: said("bake", 7)})
    assert alarms == {f"{WORDS}/{HARMFUL}": [1.0] * 9, f"{WORDS}/{HARMLESS}": [0.0] * 7}
    assert (auroc.value, auroc.n) == (1.0, 16)


def test_the_line_has_each_rate_beside_that_of_words() -> None:
    cases = [*(f"{how}/{kind}" for how in (PLAIN, WORDS) for kind in (HARMFUL, HARMLESS, "looks harmful"))]
    cases += [f"{how}/{HARMFUL}" for how in (experiment.BEGUN, OWN, REFUSAL)]
    scores = {case: rate_score(case, number, 100) for number, case in enumerate(cases)}
    line = experiment.told(scores)
    assert "harmful 0 % [0, 4] (by words 3 %" in line
    assert "looks harmful 2 % [1, 7] (by words 5 %" in line
    assert "reply begun 6 %" in line
    assert "refusal ablated 8 %" in line
    probe, words = experiment.drawn(scores).data
    assert list(probe.x) == pytest.approx([0, 1, 2, 6, 7, 8])
    assert list(words.x) == pytest.approx([3, 4, 5])
