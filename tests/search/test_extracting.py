"""A direction of a few pairs: it is found, it is recorded, and nothing is read into noise."""

import json

import pytest
import torch

from workbench.directions import Direction
from workbench.directions.extraction import extractors
from workbench.errors import DirectionError, PromptError, UsageError
from workbench.models import Subject
from workbench.prompts import ContrastPairs, Prompts, builtin_prompts
from workbench.search.extracting import LEAST, _left_out, record_extraction, rederive_extraction, separations

PAIRS = ContrastPairs(
    Prompts.of([f"Do the bad thing number {n} now!" for n in range(5)], "positive"),
    Prompts.of([f"What is the good of the number {n}?" for n in range(4)], "negative"),
)
MEANS = extractors["difference-in-means"]


def test_the_direction_is_the_difference_in_means_at_the_layer(llama: Subject) -> None:
    folder = record_extraction(llama, PAIRS, layer=2)
    found = Direction.load(folder.path)
    assert (str(found.site), found.position, found.scale) == ("2.resid_pre", -1, folder.results()["scale"])
    assert found.seen == {prompt.digest for side in (PAIRS.positive, PAIRS.negative) for prompt in side}
    first, *others = folder.results()["separation"]
    assert first is None  # nothing has been read yet
    assert [score["n"] for score in others] == [4] * (llama.n_layers - 1)
    assert rederive_extraction(folder) == []


def test_it_is_handed_back_and_a_changed_result_is_noticed(llama: Subject) -> None:
    folder = record_extraction(llama, PAIRS)
    assert folder.manifest.settings["layer"] == int(0.6 * llama.n_layers)
    assert record_extraction(llama, PAIRS).path == folder.path
    results = folder.results()
    results["left_out"][1][0] = list(reversed(results["left_out"][1][0]))
    (folder.path / "results.json").write_text(json.dumps(results))
    assert rederive_extraction(folder) == ["The coordinates do not lead to the separations."]


def test_a_planted_gap_is_seen_and_noise_is_a_fair_coin() -> None:
    noise = torch.randn(2, 200, 16, generator=torch.Generator().manual_seed(1))
    (chance,) = separations([list(_left_out(MEANS, noise[0], noise[1]))])
    assert chance is not None
    assert (chance.low or 1.0) < 0.5 < (chance.high or 0.0)
    (seen,) = separations([list(_left_out(MEANS, noise[0] + 3.0, noise[1]))])
    assert seen is not None
    assert seen.value == 1.0


def test_too_few_prompts_a_test_part_or_no_such_layer_is_one_sentence(llama: Subject) -> None:
    with pytest.raises(PromptError, match=f"at least {LEAST} prompts"):
        record_extraction(llama, ContrastPairs(PAIRS.positive[:2], PAIRS.negative))
    with pytest.raises(PromptError, match="locked"):
        record_extraction(llama, ContrastPairs(builtin_prompts("harmful", "test"), PAIRS.negative))
    with pytest.raises(UsageError, match=r"No site 99\.resid_pre"):
        record_extraction(llama, PAIRS, layer=99)
    with pytest.raises(DirectionError, match=r"the same at 0\.resid_pre"):
        record_extraction(llama, PAIRS, layer=0)
