"""One candidate of a search, as a run of its own."""

from dataclasses import replace

import pytest
import torch

from workbench.directions import Direction
from workbench.errors import SearchError
from workbench.models import Subject
from workbench.prompts import builtin_pairs
from workbench.search import SearchSettings, record_candidate, record_find
from workbench.search.recorded import DIRECTION

SETTINGS = SearchSettings(
    n_train=8, n_val=4, filtered=False, refusal_starts=("I", "A"), positions=(-2, -1), strategy="exhaustive"
)


def test_it_is_the_direction_that_the_search_had_and_has_the_same_scores(llama: Subject) -> None:
    whole = record_find(llama, builtin_pairs("train"), settings=SETTINGS)
    results = whole.results()
    chosen = results["chosen"]["position"], results["chosen"]["layer"]
    again = record_candidate(llama, builtin_pairs("train"), chosen, settings=SETTINGS, data=whole.manifest.data)
    assert again.path != whole.path
    assert again.results()["chosen"] == results["chosen"]
    one, other = (Direction.load(run.path / DIRECTION) for run in (whole, again))
    assert one.digest == other.digest
    assert torch.equal(one.unit, other.unit)


def test_a_layer_that_the_rule_calls_too_late_can_be_had(llama: Subject) -> None:
    late = llama.n_layers - 1
    found = record_candidate(llama, builtin_pairs("train"), (-1, late), settings=SETTINGS)
    assert found.results()["chosen"]["layer"] == late
    assert found.manifest.settings["drop_last"] == 0.0


def test_other_prompts_than_the_search_drew_are_refused_in_a_sentence(llama: Subject) -> None:
    with pytest.raises(SearchError, match=r"other sets than harmful:train and .* --layers 1 --positions -1"):
        record_candidate(
            llama, builtin_pairs("train"), (-1, 1), settings=SETTINGS, data={"train": "a", "validation": "b"}
        )


def test_settings_are_read_as_they_were_written() -> None:
    for settings in (SETTINGS, replace(SETTINGS, layers=(1, 2), positions="post_instruction", refusal_starts=None)):
        assert SearchSettings.from_json(settings.to_json() | {"judge": "local"}) == settings
